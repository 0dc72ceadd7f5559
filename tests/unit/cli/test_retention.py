"""`soma retention`: what it asks of the API, and when it does not."""

from typing import Any

import pytest

from canned_api import CannedApi
from soma_cli.failures import UsageError
from soma_cli.parsing import seconds_of, spelled_seconds
from soma_command import Soma

NOTHING_ENDS = {
    "due_now": 0,
    "due_within_1_day": 0,
    "due_within_7_days": 0,
    "due_within_30_days": 0,
    "samples": [],
    "above_cap": 0,
    "above_cap_samples": [],
}
SOME_END = NOTHING_ENDS | {
    "due_now": 1200,
    "due_within_1_day": 1201,
    "due_within_7_days": 1300,
    "due_within_30_days": 1400,
    "samples": [
        {
            "memory_id": "01912f4a-0000-7000-8000-000000000001",
            "namespace": "team/notes",
            "key": "tea",
            "kind": "EPISODIC",
            "text": "Tea at four.",
            "updated_at": "2026-01-02T07:48:00Z",
            "ends_at": "2026-02-01T07:48:00Z",
        }
    ],
}
CHANGED = {
    "event_id": "01912f4a-0000-7000-8000-000000000002",
    "namespace": "team",
    "position": "0:17",
    "in_force": True,
}


A_CAP = {"max_memories": 1000, "notice_seconds": 60, "archive": False}


def a_rule(**fields: Any) -> dict[str, Any]:
    return {"kind": None, "ttl_seconds": 7, "notice_seconds": 0, "archive": False} | fields


def policies(
    *rules: dict[str, Any], namespace: str | None = "team", cap: dict[str, Any] | None = None
) -> dict[str, Any]:
    policy = {
        "namespace": namespace,
        "rules": rules,
        "cap": cap,
        "actor": "key:1",
        "set_at": "2026-03-02T07:48:00Z",
    }
    return {"policies": [policy] if rules or cap else []}


@pytest.fixture
def at(api: CannedApi) -> dict[str, str]:
    """The environment that leads to the API."""
    return {"SOMA_URL": api.url, "SOMA_API_KEY": "soma_a_secret"}


def test_a_policy_that_ends_nothing_is_set_without_further_ado(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers(policies(), 200)
    api.answers(NOTHING_ENDS, 200)
    api.answers(CHANGED, 200)

    ran = soma("retention", "set", "30d", "-n", "team", "--notice", "12h", "--archive", environment=at)

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "team  in force  (0:17)\n"
    _, planned, done = api.asked
    rules = [a_rule(ttl_seconds=2_592_000, notice_seconds=43_200, archive=True)]
    assert (planned.path, planned.body) == ("/v1/retention-policies:plan", {"rules": rules, "cap": None})
    assert (done.method, done.path, done.query) == (
        "PUT",
        "/v1/retention-policies",
        {"namespace": ["team"]},
    )
    assert done.body == {"rules": rules, "cap": None}
    assert done.headers["prefer"] == "wait=5"


def test_a_policy_that_ends_memories_at_once_is_shown_and_not_set(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers(policies(), 200)
    api.answers(SOME_END, 200)

    ran = soma("retention", "set", "30d", environment=at)

    assert ran.code == 1
    assert "1,200     at once" in ran.out
    assert "team/notes tea" in ran.out
    assert "error: nothing was changed: memories would be gone at once, 1,200 of them" in ran.err
    assert ran.err.endswith("hint: add --yes to do it\n")
    assert [each.method for each in api.asked] == ["GET", "POST"]


def test_with_yes_nothing_is_planned(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers(policies(), 200)
    api.answers(CHANGED | {"namespace": None}, 200)

    ran = soma("retention", "set", "90s", "--yes", environment=at)

    assert ran.out == "the whole tenant  in force  (0:17)\n"
    assert [each.method for each in api.asked] == ["GET", "PUT"]


def test_a_rule_of_one_kind_leaves_the_others_as_they_are(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers(policies(a_rule(), a_rule(kind="EPISODIC", ttl_seconds=9), cap=A_CAP), 200)
    api.answers(CHANGED, 200)

    soma("retention", "set", "15m", "-n", "team", "--kind", "episodic", "--yes", environment=at)

    assert api.asked[-1].body == {
        "rules": [a_rule(), a_rule(kind="EPISODIC", ttl_seconds=900)],
        "cap": A_CAP,
    }


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        ([], ("DELETE", None)),
        (["--kind", "EPISODIC"], ("PUT", {"rules": [a_rule()], "cap": A_CAP})),
        (["--cap"], ("PUT", {"rules": [a_rule(), a_rule(kind="EPISODIC")], "cap": None})),
    ],
)
def test_unset_lifts_a_policy_or_one_part_of_it(
    soma: Soma, api: CannedApi, at: dict[str, str], part: list[str], asked: tuple[str, Any]
) -> None:
    if part:
        api.answers(policies(a_rule(), a_rule(kind="EPISODIC"), cap=A_CAP), 200)
    api.answers(NOTHING_ENDS, 200)
    api.answers(CHANGED | {"in_force": None}, 202)

    ran = soma("retention", "unset", "-n", "team", *part, environment=at)

    assert (api.asked[-1].method, api.asked[-1].body) == asked
    assert ran.out == "team  in the log; `soma retention list` shows when it is in force  (0:17)\n"


def test_a_cap_leaves_the_rules_as_they_are_and_with_a_notice_nothing_goes_at_once(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers(policies(a_rule()), 200)
    api.answers(NOTHING_ENDS | {"above_cap": 7}, 200)
    api.answers(CHANGED, 200)

    ran = soma("retention", "set", "--max-memories", "9", "-n", "team", "--notice", "1d", environment=at)

    assert ran.code == 0
    cap = {"max_memories": 9, "notice_seconds": 86_400, "archive": False}
    assert api.asked[-1].body == {"rules": [a_rule()], "cap": cap}


def test_a_cap_without_a_notice_is_shown_and_not_set_when_memories_are_above_it(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    least = {
        "memory_id": "01912f4a-0000-7000-8000-000000000001",
        "namespace": "team/notes",
        "key": "tea",
        "kind": "EPISODIC",
        "text": "Tea at four.",
        "updated_at": "2026-01-02T07:48:00Z",
        "importance": 0.25,
    }
    api.answers(policies(), 200)
    api.answers(NOTHING_ENDS | {"above_cap": 1200, "above_cap_samples": [least]}, 200)

    ran = soma("retention", "set", "--max-memories", "9", environment=at)

    assert ran.code == 1
    assert "above the cap: 1,200, first to go:" in ran.out
    assert [line.split()[0] for line in ran.out.splitlines() if "team/notes tea" in line] == ["0.25"]
    assert "1,200 of them" in ran.err
    assert [each.method for each in api.asked] == ["GET", "POST"]


def test_a_policy_says_how_long_or_how_many(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    ran = soma("retention", "set", "-n", "team", environment=at)

    assert ran.code == 2
    assert "say how long or how many: a DURATION, --half-life DURATION, --max-memories NUMBER" in ran.err
    assert api.asked == []


def test_a_floor_without_a_half_life_says_nothing(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    ran = soma("retention", "set", "--floor", "0.1", environment=at)

    assert ran.code == 2
    assert "--floor goes with --half-life DURATION" in ran.err
    assert api.asked == []


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        (["--half-life", "30d"], {"decay": {"half_life_seconds": 2_592_000, "floor": 0.05}}),
        (
            ["90d", "--half-life", "30d", "--floor", "0.2"],
            {"ttl_seconds": 7_776_000, "decay": {"half_life_seconds": 2_592_000, "floor": 0.2}},
        ),
    ],
)
def test_a_half_life_is_a_rule_by_itself_or_shortens_a_duration(
    soma: Soma, api: CannedApi, at: dict[str, str], said: list[str], rule: dict[str, Any]
) -> None:
    api.answers(policies(cap=A_CAP), 200)
    api.answers(NOTHING_ENDS, 200)

    ran = soma("retention", "plan", *said, "-n", "team", "--notice", "1d", environment=at)

    assert ran.code == 0
    rules = [{"kind": None, "notice_seconds": 86_400, "archive": False} | rule]
    assert api.asked[-1].body == {"rules": rules, "cap": A_CAP}


def test_the_list_shows_each_rule_and_cap(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    decay = {"half_life_seconds": 3600, "floor": 0.125}
    rules = (
        a_rule(ttl_seconds=86_400, archive=True),
        a_rule(kind="SEMANTIC", decay=decay),
        a_rule(kind="EPISODIC", decay=decay, ttl_seconds=3 * 3600),
    )
    api.answers(policies(*rules, cap=A_CAP), 200)

    ran = soma("retention", "list", environment=at)

    header, first, second, third, last = ran.out.splitlines()
    assert header.split() == ["namespace", "kind", "kept", "notice", "archive", "set", "by"]
    assert last.split()[:7] == ["team", "together", "at", "most", "1,000", "1m", "no"]
    assert first.split()[:6] == ["team", "all", "others", "1d", "none", "yes"]
    assert "SEMANTIC    7s; half-life 1h, to 0.125  none" in second
    assert "EPISODIC    half-life 1h, to 0.125      none" in third


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("15m", 900), ("90s", 90), ("1d", 86_400)]
)
def test_durations_are_read_and_written_alike(text: str, seconds: int) -> None:
    assert seconds_of("DURATION", text) == seconds
    assert spelled_seconds(seconds) == text


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "1 d", "1y", "1d12h", "٣d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="DURATION is not a duration"):
        seconds_of("DURATION", text)
