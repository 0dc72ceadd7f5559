"""Whatever is killed while `soma up` starts is started again, and said; the stack is as good as any then."""

import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from soma_cli.local.home import LOOPBACK
from soma_command import Soma
from soma_up import Demonstration, soma_starting
from waiting import eventually_now, still_running

_SECONDS = 90
_PORTS = {
    "kafka": "kafka-1",
    "postgres": "postgres",
    "registry": "registry-management",
    "lag": "lag",
    "worker": "worker",
    "retention": "retention",
    "api": "api",
}


@dataclass(frozen=True)
class Kill:
    """Whose process is killed, and what is seen at that moment of the home and of what was said so far.

    Attributes:
        process: As its pid file is named: a part, or a helper of one.
    """

    process: str
    when: Callable[[Path, str], bool]

    @property
    def part(self) -> str:
        return self.process.partition("-")[0]


def said(line: str, process: str) -> Kill:
    return Kill(process, lambda _, lines: line in lines)


def spawned(process: str) -> Kill:
    return Kill(process, lambda home, _: _pid(home, process) is not None)


def listening(part: str) -> Kill:
    def listens(home: Path, _: str) -> bool:
        if _pid(home, part) is None:
            return False
        port = json.loads((home / "ports.json").read_text())[_PORTS[part]]
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, port)) == 0

    return Kill(part, listens)


# On a new home, in the middle of each step, and of the helpers that prepare the data's folders.
STEPS = (
    spawned("postgres-init"),
    spawned("kafka-format"),
    said("tables: starting", "postgres"),
    said("topics: starting", "kafka"),
    said("schemas: starting", "registry"),
    said("lag: starting", "lag"),
    said("worker: starting", "worker"),
    said("retention: starting", "retention"),
    said("api: starting", "api"),
)
PHASES = {
    "spawned": tuple(spawned(part) for part in _PORTS),
    "listening": tuple(listening(part) for part in _PORTS),
    # While our processes start, which need all of them.
    "ready": tuple(said(f"{part}: ready", part) for part in ("postgres", "kafka", "registry")),
}


def start_killing(home: Path, kills: tuple[Kill, ...], soma: Soma) -> None:
    """Start a stack, kill what is to be killed at its moment, and see that everything works all the same."""
    pending = list(kills)
    with soma_starting(home) as starting:

        def go_on() -> tuple[str, dict[str, Any] | None]:
            lines = starting.said()
            for kill in [each for each in pending if each.when(home, lines)]:
                pid = _pid(home, kill.process)
                if pid is not None:  # said to start, and not spawned yet
                    os.kill(pid, signal.SIGKILL)
                    pending.remove(kill)
            return lines, starting.ready()

        lines, ready = eventually_now(go_on, lambda seen: seen[1] is not None, seconds=_SECONDS)
        assert ready is not None
        assert [each.process for each in pending] == []
        assert {kill.part for kill in kills} <= set(ready["restarts"])
        for kill in kills:
            assert f"{kill.part}: restarting in 0.5 s, restart 1 of 5" in lines
        stored = soma("store", "still here", "-n", "starts", "--wait", "60", "--json")
        assert json.loads(stored.out)["outcome"] == "applied", stored
        assert starting.stop() == 0


def _pid(home: Path, process: str) -> int | None:
    try:
        return int(json.loads((home / "run" / f"{process}.json").read_text())[0][0])
    except FileNotFoundError:
        return None


@pytest.fixture
def arranged_home(demonstration: Demonstration) -> Path:
    """A home that had a start before, so that the parts start side by side."""
    return demonstration.home


@pytest.mark.long
def test_a_first_start_survives_the_kill_of_each_part_in_the_middle_of_each_step(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"

    start_killing(home, STEPS, Soma(home, capfd))


# One part after the other is killed in `test_local_stack`, and each step of a start in `integration/local`.
@pytest.mark.long
@pytest.mark.parametrize("phase", PHASES)
def test_a_start_survives_the_kill_of_each_part_at_each_phase(
    arranged_home: Path, capfd: pytest.CaptureFixture[str], phase: str
) -> None:
    start_killing(arranged_home, PHASES[phase], Soma(arranged_home, capfd))


@pytest.mark.parametrize(
    "line",
    [
        "registry: starting",
        pytest.param("kafka: starting", marks=pytest.mark.long),
        pytest.param("kafka: ready", marks=pytest.mark.long),
    ],
)
def test_ctrl_c_while_it_starts_leaves_nothing_running(arranged_home: Path, line: str) -> None:
    with soma_starting(arranged_home) as starting:
        eventually_now(starting.said, lambda lines: line in lines, seconds=_SECONDS)
        children = starting.children()

        assert starting.stop() == 0

    assert still_running(children) == []
    assert starting.said().endswith(f"stopped; what is stored stays in {arranged_home}\n")


def test_a_wrong_setting_ends_the_start_at_once_with_its_reason(arranged_home: Path) -> None:
    wrong = {"SOMA_DELIVERY__DRAIN_TIMEOUT": "never"}
    with soma_starting(arranged_home, wrong) as starting:
        code = starting.ended()

    assert code == 1
    assert "SOMA_DELIVERY__DRAIN_TIMEOUT" in starting.said()
    assert "restarting" not in starting.said()
