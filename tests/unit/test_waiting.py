"""Tests wait while the machine is busy or something changes, and not for ever."""

from types import SimpleNamespace

import pytest

import waiting
from waiting import Patience, eventually_now


class Machine:
    """A machine with two processors, whose time passes as a test says."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = self.idle = 0.0
        patch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.idles))
        patch.setattr(
            waiting,
            "psutil",
            SimpleNamespace(cpu_times=lambda: SimpleNamespace(idle=self.idle), cpu_count=lambda: 2),
        )

    def idles(self, seconds: float) -> None:
        self.now += seconds
        self.idle += 2 * seconds

    def works(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_an_idle_machine_ends_a_wait_in_its_time(machine: Machine) -> None:
    patience = Patience(30)

    machine.idles(29)
    assert patience.lasts()
    machine.idles(2)
    assert not patience.lasts()


def test_a_busy_machine_is_waited_for_and_not_for_ever(machine: Machine) -> None:
    patience = Patience(30)

    machine.works(590)
    assert patience.lasts()
    machine.works(20)
    assert not patience.lasts()


def test_what_changes_is_waited_for(machine: Machine) -> None:
    def count() -> int:
        machine.idles(20)
        return int(machine.now) // 20

    assert eventually_now(count, lambda seen: seen == 10, seconds=30) == 10


def test_what_was_seen_last_is_told(machine: Machine) -> None:
    assert machine.now == 0
    with pytest.raises(AssertionError, match="not so after 30 idle s; seen last: 'cold'"):
        eventually_now(lambda: "cold", lambda seen: seen == "hot", seconds=30)
