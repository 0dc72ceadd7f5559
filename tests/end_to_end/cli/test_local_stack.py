"""`soma up`: starts, stays up, stops in order, and loses nothing."""

import json
import os
import signal
import subprocess
import sys

import pytest

from recording_door import RecordingDoor, proxy_everywhere
from soma_command import Soma
from soma_up import Demonstration, Up, soma_up
from waiting import eventually_now

_SECONDS = 90


def _texts(soma: Soma, namespace: str) -> set[str]:
    ran = soma("list", "-n", namespace, "--limit", "1000", "--json")
    assert ran.code == 0, ran.err
    return {memory["text"] for memory in json.loads(ran.out)["memories"]}


def _found(soma: Soma, query: str, namespace: str) -> set[str]:
    ran = soma("search", query, "-n", namespace, "-k", "20", "--json")
    assert ran.code == 0, ran.err
    return {hit["memory"]["text"] for hit in json.loads(ran.out)["hits"]}


@pytest.mark.parametrize("part", ["lag", "worker", "retention", "api", "kafka", "postgres", "registry"])
def test_what_ends_by_itself_is_started_again(at_home: Soma, stack: Up, part: str) -> None:
    pid = stack.pid(part)
    assert pid is not None

    os.kill(pid, signal.SIGKILL)

    eventually_now(lambda: stack.pid(part), lambda now: now not in {pid, None}, seconds=_SECONDS)
    eventually_now(lambda: at_home("status").code, lambda code: code == 0, seconds=_SECONDS)
    stored = at_home("store", f"after the end of {part}", "-n", "crashes", "--wait", "30", "--json")
    assert json.loads(stored.out)["outcome"] == "applied", stored
    assert f"after the end of {part}" in _texts(at_home, "crashes")
    assert stack.process.poll() is None


def test_each_part_keeps_its_files_in_the_home_whatever_it_is_called(stack: Up) -> None:
    folders = ("kafka/1/data/memory.events-0", "postgres/data/base", "vectors", "logs", "secrets")

    assert [name for name in folders if not any((stack.home / name).iterdir())] == []
    assert {path.name.removeprefix(stack.home.name) for path in stack.home.parent.iterdir()} == {
        "",
        ".printed",
        ".said",
    }


def test_nothing_that_stays_on_this_machine_goes_through_a_proxy(stack: Up, proxy: RecordingDoor) -> None:
    through = proxy_everywhere(f"http://{proxy.host_port}")
    for command in ("store tea --namespace proxies --wait 30", "search tea", "schemas check", "dlq list"):
        ran = subprocess.run(
            [sys.executable, "-m", "soma_cli.main", *command.split()],
            env={**os.environ, **through, "SOMA_HOME": str(stack.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr

    # Not when the stack started, either.
    assert proxy.asked == []


def test_a_home_is_for_one_stack(stack: Up) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "soma_cli.main", "up", "--home", str(stack.home)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (second.returncode, second.stdout) == (1, "")
    assert "is in use by process" in second.stderr
    assert "\n\nhint: stop the other stack first" in second.stderr
    assert (stack.home / "client.json").exists()


def test_the_demonstration_answers_questions_and_leaves_its_memories(
    demonstration: Demonstration, capfd: pytest.CaptureFixture[str]
) -> None:
    home = demonstration.home
    soma = Soma(home, capfd)

    assert demonstration.code == 0, demonstration.errors
    assert "imported 356 memories of assistant-month.jsonl" in demonstration.output
    assert "Harbour 2.4 is live since 10:38." in demonstration.output
    assert f"Go on with `soma up --home {home}`" in demonstration.errors
    assert demonstration.errors.endswith(f"stopped; what is stored stays in {home}\n")
    assert "no local stack runs" in soma("list").err

    # What the log has is not lost, however soon after that everything stops.
    with soma_up(home) as first:
        assert len(_texts(soma, "team/decisions")) > 5
        for number in range(20):
            assert soma("store", f"cup {number}", "-n", "cups", "--wait", "0").code == 0
        assert first.stop() == 0
    assert not (home / "client.json").exists()

    with soma_up(home) as second:
        assert second.printed["url"] == first.printed["url"]
        cups = {f"cup {number}" for number in range(20)}
        eventually_now(lambda: _texts(soma, "cups"), lambda texts: texts == cups, seconds=_SECONDS)
        # The index has a consumer group of its own: it may come after the table.
        eventually_now(lambda: _found(soma, "cup 7", "cups"), lambda texts: texts == cups, seconds=_SECONDS)
