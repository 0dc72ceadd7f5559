"""`soma lag`: what it shows of a collector's report, and how it ends."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from canned_api import CannedApi
from own_processes import a_free_port
from soma_cli.lag_table import span, sparks
from soma_command import Ran, Soma

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def a_lag(**fields: Any) -> dict[str, Any]:
    return {
        "status": "OK",
        "reason": "gets on everywhere",
        "lag_records": 1234,
        "lag_seconds": 75.0,
        "headroom_records": 5000,
        "headroom_seconds": 2_592_000.0,
        "catch_up_seconds": 12.0,
    } | fields


def a_partition(**fields: Any) -> dict[str, Any]:
    places = {"topic": "memory.events", "partition": 3, "committed": 10, "start": 0, "end": 1244}
    return a_lag(**places, member="m-1") | fields


def a_group(name: str, **fields: Any) -> dict[str, Any]:
    history = [
        {"at": (NOON + timedelta(seconds=5 * number)).isoformat(), "lag_records": number, "lag_seconds": None}
        for number in range(8)
    ]
    told = {
        "group": name,
        "state": "Stable",
        "members": [],
        "partitions": [a_partition()],
        "history": history,
    }
    return a_lag(**told) | fields


def a_report(*groups: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"at": NOON.isoformat(), "age_seconds": 1.0, "failure": None, "groups": groups} | fields


@pytest.fixture
def collector() -> Any:
    with CannedApi() as opened:
        yield opened


def words_of(ran: Ran) -> list[str]:
    """Each line without what lines up its columns."""
    return [" ".join(line.split()) for line in ran.out.splitlines()]


def asking(collector: CannedApi) -> dict[str, str]:
    return {"SOMA_COLLECTOR__URL": collector.url}


def test_the_table_has_a_line_for_each_group(soma: Soma, collector: CannedApi) -> None:
    collector.answers(a_report(a_group("soma-postgres"), a_group("soma-vectors", lag_records=0)))

    ran = soma("lag", environment=asking(collector))

    assert ran.code == 0, ran.err
    head, first, second = words_of(ran)
    assert head == "group status records seconds headroom caught up in lately why"
    assert first == "soma-postgres OK 1,234 1 min 15 s 5,000 / 30 d 12 s ▁▂▃▄▅▆▇█ gets on everywhere"
    assert second.startswith("soma-vectors OK 0 ")
    assert [asked.path for asked in collector.asked] == ["/v1/lag"]


def test_what_nobody_knows_is_a_question_mark_and_what_never_is_a_dash(
    soma: Soma, collector: CannedApi
) -> None:
    unknown = dict.fromkeys(
        ("lag_records", "lag_seconds", "headroom_records", "headroom_seconds", "catch_up_seconds")
    )
    collector.answers(
        a_report(
            a_group("a", status="UNKNOWN", reason="refused", history=[], **unknown),
            a_group("b", catch_up_seconds=None, headroom_seconds=None, history=[]),
        )
    )

    ran = soma("lag", environment=asking(collector))

    _, first, second = words_of(ran)
    assert first == "a UNKNOWN ? ? ? ? refused"
    assert second == "b OK 1,234 1 min 15 s 5,000 — gets on everywhere"


@pytest.mark.parametrize("status", ["STALL", "STOP", "REWIND"])
def test_a_group_in_trouble_is_an_exit_code_of_1(soma: Soma, collector: CannedApi, status: str) -> None:
    collector.answers(a_report(a_group("good"), a_group("bad", status=status, reason="topic/0 it is so")))

    ran = soma("lag", environment=asking(collector))

    assert ran.code == 1
    assert len(ran.out.splitlines()) == 3
    assert ran.err.startswith(
        f"error: 1 of 2 groups do not get on\n  bad: {status}, topic/0 it is so\n\nhint: "
    )


@pytest.mark.parametrize("status", ["OK", "UNKNOWN", "WARN"])
def test_any_other_status_is_none(soma: Soma, collector: CannedApi, status: str) -> None:
    collector.answers(a_report(a_group("group", status=status)))

    assert soma("lag", environment=asking(collector)).code == 0


def test_a_pattern_shows_its_groups_alone_and_their_partitions(soma: Soma, collector: CannedApi) -> None:
    collector.answers(a_report(a_group("soma-postgres"), a_group("other", status="STOP")))

    ran = soma("lag", "--group", "soma-*", environment=asking(collector))

    assert ran.code == 0, ran.err
    assert "other" not in ran.out
    assert words_of(ran)[-1].startswith("memory.events/3 OK 1,234 1 min 15 s ")


def test_a_pattern_that_matches_nothing_is_said(soma: Soma, collector: CannedApi) -> None:
    collector.answers(a_report(a_group("soma-postgres")))

    ran = soma("lag", "--group", "sona-*", environment=asking(collector))

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: no consumer group matches `sona-*`\n")


def test_json_has_what_the_collector_told(soma: Soma, collector: CannedApi) -> None:
    report = a_report(a_group("soma-postgres"))
    collector.answers(report)

    ran = soma("lag", "--json", environment=asking(collector))

    printed = json.loads(ran.out)
    assert printed["source"] == "collector"
    assert printed["report"]["groups"][0]["partitions"][0] == report["groups"][0]["partitions"][0]


def test_a_collector_that_sees_nothing_is_a_failure(soma: Soma, collector: CannedApi) -> None:
    collector.answers(a_report(failure="no broker answers: refused"))

    ran = soma("lag", environment=asking(collector))

    assert ran.code == 1
    assert ran.err.startswith("error: nothing could be seen: no broker answers: refused\n")


def test_a_collector_that_does_not_answer_is_named(soma: Soma) -> None:
    url = f"http://127.0.0.1:{a_free_port()}"

    ran = soma("lag", environment={"SOMA_COLLECTOR__URL": url})

    assert ran.code == 1
    assert ran.err.startswith(f"error: the lag collector at {url} does not respond: ")
    assert "hint: start it with `soma lag collect`" in ran.err


def test_somebody_else_in_its_place_is_no_collector(soma: Soma, collector: CannedApi) -> None:
    collector.answers({"detail": "not here"})

    ran = soma("lag", environment=asking(collector))

    assert ran.code == 1
    assert "somebody else responds" in ran.err


def test_brokers_that_are_not_there_are_named(soma: Soma) -> None:
    ran = soma("lag", environment={"SOMA_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{a_free_port()}"})

    assert ran.code == 1
    assert ran.err.splitlines()[-3].startswith("error: nothing could be seen: no broker answers: ")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (9.96, "10.0 s"), (59.6, "1 min"), (3661, "1 h 1 min"), (2_595_600, "30 d 1 h")],
)
def test_spans_for_people(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_sparks_are_as_high_as_the_highest() -> None:
    assert sparks([0, 0]) == "▁▁"
    assert sparks([0, 50, 100]) == "▁▅█"
    assert sparks([]) == ""


@pytest.mark.parametrize(("name", "begin"), [("lag.png", b"\x89PNG"), ("lag.svg", b"<?xml")])
def test_the_last_minutes_are_drawn(
    soma: Soma, collector: CannedApi, tmp_path: Path, name: str, begin: bytes
) -> None:
    collector.answers(a_report(a_group("soma-postgres"), a_group("soma-vectors", history=[])))

    ran = soma("lag", "plot", str(tmp_path / name), environment=asking(collector))

    assert ran.code == 0, ran.err
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_a_picture_in_another_format_is_refused(soma: Soma, collector: CannedApi, tmp_path: Path) -> None:
    ran = soma("lag", "plot", str(tmp_path / "lag.bmp"), environment=asking(collector))

    assert ran.code == 2
    assert collector.asked == []


def test_a_picture_of_nothing_is_refused(soma: Soma, collector: CannedApi, tmp_path: Path) -> None:
    collector.answers(a_report(a_group("soma-postgres")))

    ran = soma("lag", "plot", str(tmp_path / "lag.png"), "--group", "x", environment=asking(collector))

    assert ran.code == 1
    assert not (tmp_path / "lag.png").exists()


def test_without_a_collector_there_are_no_last_minutes(soma: Soma, tmp_path: Path) -> None:
    nowhere = {"SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}

    ran = soma("lag", "plot", str(tmp_path / "lag.png"), environment=nowhere)

    assert ran.code == 2
    assert "hint: start one with `soma lag collect`" in ran.err


def test_without_the_plotting_library_it_says_what_to_install(
    soma: Soma, collector: CannedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    collector.answers(a_report(a_group("soma-postgres")))

    ran = soma("lag", "plot", str(tmp_path / "lag.png"), environment=asking(collector))

    assert ran.code == 2
    assert ran.err.endswith("hint: pip install 'somafractalmemory[plot]'\n")
