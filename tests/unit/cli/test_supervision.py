"""What ends is started again, from the first moment on; what cannot work ends everything at once."""

import asyncio
import signal
from collections.abc import Sequence

import pytest

from fakes import FakeClock
from soma_cli.local.backing_service import was_told_to_end
from soma_cli.local.errors import GaveUpError, PartError
from soma_cli.local.supervision import Supervisor, restart_pause
from soma_cli.local.unit import PartChange, PartState, Unit
from soma_schemas.clock import yield_now

KILLED = PartError("it ended by SIGKILL", part="cup", exit_code=-signal.SIGKILL)
BROKEN = PartError("it has a crack", part="cup", exit_code=1, last_lines=("drip", "drop"), remedy="glue it")


class Cup(Unit):
    """A unit without a program, which does what a test has laid down.

    Attributes:
        outcomes: What its next starts come to, one each: an error, None for ready, an event to wait for.
        starts: How often it was started.
    """

    def __init__(self, name: str, heard: list[PartChange], needs: Sequence[Unit] = ()) -> None:
        super().__init__(name, heard.append, needs)
        self.outcomes: list[Exception | asyncio.Event | None] = []
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        self.become(PartState.STARTING)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, asyncio.Event):
            await outcome.wait()
        if isinstance(outcome, Exception):
            self.fail(outcome)
            raise outcome
        self.become(PartState.READY)

    def is_passing(self, failure: Exception) -> bool:
        return failure is KILLED


class Kitchen:
    """A cup, a saucer that needs it, and what was heard of both."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.heard: list[PartChange] = []
        self.cup = Cup("cup", self.heard)
        self.saucer = Cup("saucer", self.heard, [self.cup])
        self.supervisor = Supervisor([self.saucer, self.cup], self.clock)

    def states(self, unit: Unit) -> list[PartState]:
        return [change.state for change in self.heard if change.part == unit.name]


@pytest.fixture
def kitchen() -> Kitchen:
    """A supervised cup and its saucer."""
    return Kitchen()


def test_each_restart_within_ten_minutes_doubles_the_pause() -> None:
    assert [restart_pause([100.0] * count, 100.0) for count in range(6)] == [0.5, 1.0, 2.0, 4.0, 8.0, None]


def test_restarts_of_long_ago_are_forgiven() -> None:
    assert restart_pause([0.0] * 5, 599.0) is None
    assert restart_pause([0.0] * 5, 600.0) == 0.5


@pytest.mark.parametrize("exit_code", [-9, -15, -2, 143, 130, 0])
def test_who_was_told_to_end_has_no_fault(exit_code: int) -> None:
    assert was_told_to_end(exit_code)


@pytest.mark.parametrize("exit_code", [1, 2, 3, 127, 128, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGSEGV])
def test_who_ends_for_a_reason_of_its_own_has_one(exit_code: int) -> None:
    assert not was_told_to_end(exit_code)


async def test_a_unit_begins_when_what_it_needs_is_ready(kitchen: Kitchen) -> None:
    await kitchen.supervisor.start()

    assert [(change.part, change.state) for change in kitchen.heard] == [
        ("cup", PartState.STARTING),
        ("cup", PartState.READY),
        ("saucer", PartState.STARTING),
        ("saucer", PartState.READY),
    ]
    assert kitchen.supervisor.restarts == {}


async def test_what_is_killed_while_it_starts_is_started_again(kitchen: Kitchen) -> None:
    kitchen.cup.outcomes = [KILLED, KILLED]

    await kitchen.supervisor.start()

    assert kitchen.clock.slept == [0.5, 1.0]
    assert kitchen.supervisor.restarts == {"cup": 2}
    assert [change.detail for change in kitchen.heard if change.state is PartState.RESTARTING] == [
        "in 0.5 s, restart 1 of 5",
        "in 1 s, restart 2 of 5",
    ]


async def test_what_cannot_work_ends_the_start_at_once_with_its_reason(kitchen: Kitchen) -> None:
    kitchen.cup.outcomes = [BROKEN]

    with pytest.raises(PartError) as caught:
        await kitchen.supervisor.start()

    assert caught.value is BROKEN
    assert (kitchen.cup.starts, kitchen.saucer.starts) == (1, 0)


async def test_a_start_that_loses_what_it_needs_begins_anew(kitchen: Kitchen) -> None:
    kitchen.saucer.outcomes = [asyncio.Event()]
    starting = asyncio.create_task(kitchen.supervisor.start())
    while not kitchen.saucer.starts:
        await yield_now()

    kitchen.cup.fail(KILLED)
    await starting

    assert kitchen.supervisor.restarts == {"cup": 1, "saucer": 1}
    assert PartChange("saucer", PartState.FAILED, "cup ended, which it needs") in kitchen.heard


async def test_a_failure_is_forgiven_when_what_was_needed_ended_meanwhile(kitchen: Kitchen) -> None:
    kitchen.clock = FakeClock(skips=False)
    kitchen.supervisor = Supervisor([kitchen.saucer, kitchen.cup], kitchen.clock)
    kitchen.saucer.outcomes = [BROKEN]
    starting = asyncio.create_task(kitchen.supervisor.start())
    while not kitchen.saucer.starts:
        await yield_now()
    while kitchen.saucer.state is not PartState.FAILED:
        await yield_now()

    kitchen.cup.fail(KILLED)  # noticed after its consequence
    while not starting.done():
        kitchen.clock.advance(0.5)
        await yield_now()

    assert kitchen.supervisor.restarts == {"cup": 1, "saucer": 1}


async def test_what_ends_after_it_was_ready_is_started_again_whatever_the_reason(kitchen: Kitchen) -> None:
    keeping = asyncio.create_task(kitchen.supervisor.run())
    await kitchen.supervisor.until_ready()

    kitchen.cup.fail(BROKEN)
    await yield_now()
    await kitchen.supervisor.until_ready()
    keeping.cancel()

    assert kitchen.states(kitchen.cup)[2:] == [
        PartState.FAILED,
        PartState.RESTARTING,
        PartState.STARTING,
        PartState.READY,
    ]
    assert kitchen.saucer.starts == 1


async def test_a_second_end_right_after_the_start_is_noticed_too(kitchen: Kitchen) -> None:
    keeping = asyncio.create_task(kitchen.supervisor.run())
    await kitchen.supervisor.until_ready()
    for number in (2, 3):
        kitchen.cup.fail(KILLED)
        while kitchen.cup.starts < number:
            await yield_now()
    keeping.cancel()

    assert kitchen.clock.slept == [0.5, 1.0]


async def test_once_everything_is_ready_a_mere_start_leaves_it_alone(kitchen: Kitchen) -> None:
    await kitchen.supervisor.start()

    kitchen.cup.fail(KILLED)
    for _ in range(10):
        await yield_now()

    assert kitchen.cup.state is PartState.FAILED


async def test_what_fails_again_and_again_is_given_up_with_its_last_words(kitchen: Kitchen) -> None:
    kitchen.cup.outcomes = [None, *[BROKEN] * 5]
    keeping = asyncio.create_task(kitchen.supervisor.run())
    await kitchen.supervisor.until_ready()
    kitchen.cup.fail(BROKEN)

    with pytest.raises(
        GaveUpError, match=r"cup failed 6 times within ten minutes: it has a crack\n  drip\n  drop"
    ) as gave_up:
        await keeping

    assert kitchen.clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert gave_up.value.remedy == "glue it"
