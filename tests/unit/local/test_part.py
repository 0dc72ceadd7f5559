"""A part says what state it is in, and a crash of it is seen."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from soma_cli.local.backing_service import BackingService
from soma_cli.local.child_process import Launch
from soma_cli.local.errors import LocalStackError, PartError
from soma_cli.local.home import Home
from soma_cli.local.unit import PartChange, PartState
from soma_cli.tasks import first_of, in_thread, together
from soma_schemas.clock import SystemClock, yield_now
from waiting import eventually_so


class Sleeper(BackingService):
    """A part that sleeps, and is ready when it has said so.

    Attributes:
        code: What it runs at the next start.
        fails: What preparing it raises, if anything.
        concluded: How often it stopped in order.
    """

    READY = "import time; print('here', flush=True); time.sleep(600)"

    def __init__(self, home: Home) -> None:
        self.changes: list[PartChange] = []
        super().__init__("sleeper", home, SystemClock(), self.changes.append)
        self.code = self.READY
        self.fails: Exception | None = None
        self.concluded = 0

    @property
    def address(self) -> str:
        return "nowhere"

    @property
    def states(self) -> list[PartState]:
        return [change.state for change in self.changes]

    async def prepare(self) -> Launch:
        if self.fails is not None:
            raise self.fails
        return Launch(
            self.name,
            [sys.executable, "-I", "-S", "-u", "-c", self.code],
            self._home.path,
            {},
            self._home.log(self.name),
            self._home.pid_file(self.name),
        )

    async def is_ready(self) -> bool:
        return "here" in self._home.log(self.name).read_text()

    async def conclude(self) -> None:
        self.concluded += 1


@pytest.fixture
async def part(home: Home) -> AsyncIterator[Sleeper]:
    part = Sleeper(home)
    yield part
    await part.stop()


async def test_a_start_goes_through_starting_to_ready(part: Sleeper) -> None:
    await part.start()

    assert part.changes == [
        PartChange("sleeper", PartState.STARTING),
        PartChange("sleeper", PartState.READY, "nowhere"),
    ]


async def test_a_stop_goes_through_stopping_to_stopped(part: Sleeper) -> None:
    await part.start()

    await part.stop()

    assert part.states[-2:] == [PartState.STOPPING, PartState.STOPPED]
    assert part.pid is None
    assert part.concluded == 1


async def test_starting_what_runs_does_nothing(part: Sleeper) -> None:
    await part.start()
    pid = part.pid

    await part.start()

    assert part.pid == pid


async def test_stopping_what_does_not_run_does_nothing(part: Sleeper) -> None:
    await part.stop()

    assert part.changes == []


async def test_two_starts_at_once_are_one(part: Sleeper) -> None:
    await together(part.start(), part.start())

    assert part.states == [PartState.STARTING, PartState.READY]


async def test_a_crash_is_reported_with_the_last_words(part: Sleeper) -> None:
    part.code = (
        "print('here', flush=True); input; import time; time.sleep(0.3); raise SystemExit('out of luck')"
    )
    await part.start()

    await eventually_so(lambda: part.state is PartState.FAILED)

    assert isinstance(part.failure, PartError)
    assert part.failure.exit_code == 1
    assert part.failure.last_lines[-1] == "out of luck"
    assert part.pid is None


async def test_a_kill_is_reported_as_the_crash_that_it_looks_like(part: Sleeper) -> None:
    await part.start()

    await part.kill()

    assert part.state is PartState.FAILED
    assert isinstance(part.failure, PartError)
    assert part.failure.exit_code == -signal.SIGKILL
    assert part.concluded == 0


async def test_an_ordered_stop_is_no_crash(part: Sleeper) -> None:
    await part.start()

    await part.stop()

    assert part.failure is None
    assert PartState.FAILED not in part.states


async def test_a_crashed_part_can_be_started_again(part: Sleeper) -> None:
    await part.start()
    await part.kill()

    await part.start()

    assert part.state is PartState.READY
    assert part.failure is None


async def test_a_restart_is_another_process(part: Sleeper) -> None:
    await part.start()
    first = part.pid

    await part.restart()

    assert part.state is PartState.READY
    assert part.pid not in (first, None)


async def test_a_part_that_cannot_start_fails_and_does_not_run(part: Sleeper) -> None:
    part.code = "raise SystemExit('no')"

    with pytest.raises(PartError, match="sleeper ended by itself, with exit code 1"):
        await part.start()

    assert part.state is PartState.FAILED
    assert part.pid is None


async def test_what_cannot_be_prepared_is_a_failure_of_the_part(part: Sleeper) -> None:
    part.fails = LocalStackError("no room", remedy="make room")

    with pytest.raises(LocalStackError, match="no room"):
        await part.start()

    assert part.changes[-1] == PartChange("sleeper", PartState.FAILED, "no room")
    assert part.failure is part.fails


async def test_a_kill_during_the_start_passes_and_the_next_start_is_as_good_as_any(part: Sleeper) -> None:
    part.code = "import time; time.sleep(600)"
    starting = asyncio.create_task(part.start())
    await eventually_so(lambda: part.pid is not None)
    assert part.pid is not None

    os.kill(part.pid, signal.SIGKILL)
    with pytest.raises(PartError, match="sleeper ended by SIGKILL") as caught:
        await starting
    part.code = Sleeper.READY
    await part.start()

    assert part.is_passing(caught.value)
    assert part.state is PartState.READY


async def test_an_abandoned_start_leaves_nothing_running(part: Sleeper) -> None:
    part.code = "import time; time.sleep(600)"
    starting = asyncio.create_task(part.start())
    await eventually_so(lambda: part.pid is not None)

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert part.state is PartState.STOPPED
    assert part.pid is None


async def test_the_first_of_several_errors_is_the_one_that_is_raised() -> None:
    async def fails() -> None:
        raise LocalStackError("first")

    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(LocalStackError, match="first"):
        await together(waits(), fails())


async def test_the_first_to_end_ends_the_others() -> None:
    ended = asyncio.Event()

    async def waits() -> int:
        try:
            return await asyncio.Future()
        finally:
            ended.set()

    async def answers() -> int:
        return 4

    assert await first_of(waits(), answers()) == 4
    assert ended.is_set()


async def test_a_thread_hands_over_what_it_returns_or_raises() -> None:
    def fails() -> None:
        raise LocalStackError("no")

    assert await in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(LocalStackError, match="no"):
        await in_thread(fails)


async def test_nobody_waits_for_a_thread_whose_result_is_not_wanted_any_more() -> None:
    release = threading.Event()
    asking = asyncio.create_task(in_thread(release.wait))
    await yield_now()

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    release.set()
