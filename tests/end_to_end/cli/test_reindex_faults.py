"""What befalls a rebuild of the embedded index, as its user sees it: the one in use answers all the while."""

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from embedding_endpoint import embedding_endpoint
from judge.stores import Point
from judge.verdict import behind
from judging import embedded_points, index_folders, installation, judged_at_home
from soma_cli.connection import running_stack
from soma_cli.settings import KNOWN, OperatorSettings
from soma_command import Soma
from soma_schemas.configuration import load
from soma_schemas.settings import PublishingSettings
from soma_up import Up, soma_up
from struck_soma import ended, started
from waiting import eventually_now

pytestmark = pytest.mark.long

_MEMORIES = 600

# What a rebuild leaves behind at each, for the next run to go on with.
_STEPS = (
    "before soma_cli.local.index_folder IndexFolder._write",  # a folder that nothing names
    "after soma_cli.local.index_folder IndexFolder._write",  # one that is named, and empty
    "before soma_cli.local.embedded_index _sync",  # an index half made
    "before soma_cli.local.embedded_index EmbeddedIndex.flush",  # one that is begun
    "before soma_cli.local.embedded_index EmbeddedIndex.flush",  # whose fill is begun
    "before soma_cli.local.embedded_index EmbeddedIndex.flush",  # with a page of records
    "before soma_streams.index_rebuild commit_offsets",  # with all of them
    "before soma_streams.audit.index_audit IndexAudit.run",  # with the log
    "before soma_cli.reindexing.rebuilding compare",  # and compared with the rows
    "before pathlib Path.replace",  # and good enough
    "after soma_cli.local.index_folder IndexFolder.switch",  # and in use
)


def status(soma: Soma) -> dict[str, Any]:
    """Which index is which."""
    shown: dict[str, Any] = json.loads(soma("reindex", "--status", "--json").out)
    return shown


def is_found(soma: Soma, text: str) -> bool:
    """Whether a search finds a memory of this text."""
    found = soma("search", text, "--json")
    assert found.code == 0, found
    return text in [hit["memory"]["text"] for hit in json.loads(found.out)["hits"]]


def closed(index: Path, api: int) -> list[Point]:
    """The points of an index, once the API has gone over to another one.

    Whoever opens it while it is being closed sees a part of it.
    """
    shard = str(index / "shard")
    eventually_now(lambda: shard in Path(f"/proc/{api}/maps").read_text(), lambda mapped: not mapped)
    return embedded_points(index)


def living(points: list[Point], text: str) -> list[Point]:
    """The points that hold a text."""
    return [point for point in points if text in str(point.payload)]


def erasure(soma: Soma, request: str) -> dict[str, Any]:
    """How far an erasure is."""
    shown: dict[str, Any] = json.loads(soma("erase", "show", request, "--json").out)
    return shown


def asked(soma: Soma, subject: str) -> str:
    """Ask for an erasure, and return its id once an index keeps it from its end."""
    ran = soma("erase", "subject", subject, "--yes", "--wait", "0", "--json")
    request: str = json.loads(ran.out)["request_id"]
    eventually_now(lambda: erasure(soma, request)["waits_for"], lambda waits_for: waits_for == "vector_index")
    return request


def stored(soma: Soma, text: str, *options: str) -> None:
    assert soma("store", text, "--namespace", "faults", "--wait", "60", *options).code == 0


def test_a_rebuild_that_is_killed_at_any_step_goes_on_and_nothing_is_lost(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    soma = Soma(home, capfd)
    lines = (
        {"namespace": "faults", "key": f"gauge {number}", "text": f"Gauge {number} of the river reads low."}
        for number in range(_MEMORIES)
    )
    (tmp_path / "gauges.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with soma_up(home) as up:
        environment = running_stack(home).environment
        settings = load(PublishingSettings, environment=environment, known=KNOWN).settings
        owner = load(OperatorSettings, environment=environment, known=KNOWN).settings.postgres
        assert soma("import", str(tmp_path / "gauges.jsonl"), "--wait").code == 0
        for number, step in enumerate(_STEPS):
            killed = ended(started(home, step, "reindex", "--yes"))
            assert killed.code == -signal.SIGKILL, (step, killed)
            stored(soma, f"Written after step {number}.")
            assert is_found(soma, f"Written after step {number}."), step
            assert is_found(soma, "Gauge 7 of the river reads low."), step

        again = soma("reindex", "--yes")
        switched = status(soma)
        dropped = soma("reindex", "--drop", "--json")
        eventually_now(lambda: behind(installation(settings, owner.conninfo())), lambda left: left == 0)
        assert up.stop() == 0
    verdict = judged_at_home(home, settings)

    # The step before last was the last but for this: it is in use.
    assert again.code == 1
    assert "the index before the one in use is still there: `first`" in again.err
    assert (switched["following"], switched["former"]["name"]) == (None, "first")
    assert json.loads(dropped.out)["dropped"][-1] == "first"
    assert list(index_folders(home)) == [switched["current"]["name"]]
    assert verdict.right, str(verdict)
    assert verdict.memories == _MEMORIES + len(_STEPS)


def test_what_was_written_since_a_switch_is_found_after_a_rollback(at_home: Soma) -> None:
    soma = at_home
    assert soma("reindex", "--yes").code == 0
    stored(soma, "The heron came back on a Tuesday.")

    back = soma("reindex", "--rollback", "--yes")
    stored(soma, "The heron left on a Friday.")

    assert back.code == 0, back.err
    assert is_found(soma, "The heron came back on a Tuesday.")
    assert is_found(soma, "The heron left on a Friday.")
    verified = soma("verify", "--json")
    assert (verified.code, json.loads(verified.out)["stores"]["findings"]) == (0, {})
    assert soma("reindex", "--drop").code == 0


def test_a_rebuild_without_room_says_so_and_goes_on_when_there_is(at_home: Soma, tmp_path: Path) -> None:
    soma, full = at_home, tmp_path / "full"
    stored(soma, "The granary holds barley.")
    begun = ended(started(soma.home, "before soma_cli.local.embedded_index EmbeddedIndex.flush", "reindex"))
    full.touch()

    unmade = started(soma.home, f"full {full}", "reindex", "--no-switch")
    assert unmade.stderr is not None
    said = next(line for line in unmade.stderr if "MiB left" in line)
    assert is_found(soma, "The granary holds barley.")
    stored(soma, "The granary holds rye.")
    full.unlink()
    built = ended(unmade)

    assert begun.code == -signal.SIGKILL
    assert "the disk of the vector index has 0 MiB left" in said
    assert built.code == 0, built.err
    assert soma("reindex", "--drop").code == 0


def test_a_model_that_is_away_is_waited_for(at_home: Soma) -> None:
    soma = at_home
    stored(soma, "The lighthouse is painted white.")
    with embedding_endpoint() as following:
        pass
    port = int(following["SOMA_NEXT_EMBEDDER__URL"].split(":")[-1].partition("/")[0])

    waiting = started(soma.home, "nothing", "reindex", "--no-switch", "--recall", "0", **following)
    assert waiting.stderr is not None
    said = next(line for line in waiting.stderr if "embedder_unavailable" in line)
    assert is_found(soma, "The lighthouse is painted white.")
    with embedding_endpoint(port):
        built = ended(waiting)

    assert "the embedding endpoint does not answer" in said
    assert built.code == 0, built.err
    assert soma("reindex", "--drop").code == 0


def test_an_index_of_a_newer_version_waits_for_processes_of_that_version(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    soma = Soma(home, capfd)
    with soma_up(home):
        stored(soma, "The orchard is older than the house.")
        rebuilt = ended(started(home, "newer", "reindex", "--yes", "--json"))
        log = home / "logs" / "api.log"
        eventually_now(lambda: "index_unknown" in log.read_text())
        stored(soma, "The orchard was planted by a miller.")
        eventually_now(lambda: soma("status").out, lambda shown: "mismatch" in shown)

        assert is_found(soma, "The orchard is older than the house.")
        assert is_found(soma, "The orchard was planted by a miller.")
    assert rebuilt.code == 0, rebuilt.err
    assert json.loads(rebuilt.out)["switched"]


def test_an_erasure_during_and_after_a_rebuild_ends_when_no_index_holds_anything(
    at_home: Soma, stack: Up
) -> None:
    soma, early, late = at_home, "Ada keeps bees in Utrecht.", "Bob repairs clocks in Ghent."
    api = stack.pid("api")
    assert api is not None
    soma("reindex", "--drop")  # of the tests before
    stored(soma, early, "--subject", "ada-rebuilt")
    stored(soma, late, "--subject", "bob-rebuilt")
    assert soma("reindex", "--no-switch").code == 0
    following = status(soma)["following"]["name"]
    built = embedded_points(index_folders(soma.home)[following])

    first = asked(soma, "ada-rebuilt")
    switched = soma("reindex", "--yes")
    former = status(soma)["former"]["name"]
    kept = closed(index_folders(soma.home)[former], api)
    second = asked(soma, "bob-rebuilt")
    before = [erasure(soma, each)["state"] for each in (first, second)]
    found = [is_found(soma, each) for each in (early, late)]
    dropped = soma("reindex", "--drop")
    done = [
        eventually_now(partial(erasure, soma, each), lambda shown: shown["state"] == "completed")
        for each in (first, second)
    ]

    assert switched.code == 0, switched.err
    assert (len(living(built, early)), len(living(built, late))) == (1, 1)
    assert (len(living(kept, early)), len(living(kept, late))) == (0, 1)
    assert before == ["verifying", "verifying"]
    assert found == [False, False]
    assert dropped.code == 0, dropped.err
    assert all(each["receipt"] is not None for each in done)
    assert former not in index_folders(soma.home)
