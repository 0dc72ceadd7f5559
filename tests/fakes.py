"""Stand-ins for what a test must control: time and failure."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from soma_schemas.errors import MismatchError
from soma_streams.delivery.dead_letters import DeadLetter
from soma_streams.delivery.fold import fold
from soma_streams.delivery.state import (
    DeadLettered,
    Erased,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Settlement,
    Unapplied,
    Watermark,
)
from soma_streams.errors import PoisonError


class FakeClock:
    """A clock that moves only when told to, or by exactly what its sleepers ask for.

    Attributes:
        slept: Every pause that was asked for, in seconds.
    """

    def __init__(self, *, skips: bool = True) -> None:
        self._now = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
        self._monotonic = 1000.0
        self._skips = skips
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.slept: list[float] = []

    def now(self) -> datetime:
        """Return the time of day that the test has set."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that the test has let pass."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Skip the pause, or wait until the test has let it pass."""
        self.slept.append(seconds)
        if self._skips:
            self.advance(seconds)
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, None)
            await future
            return
        waiting = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._monotonic + seconds, waiting))
        await waiting

    def block(self, seconds: float) -> None:
        """Skip the pause."""
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whoever has slept enough."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        due = [sleeper for until, sleeper in self._sleepers if until <= self._monotonic]
        self._sleepers = [each for each in self._sleepers if each[0] > self._monotonic]
        for sleeper in due:
            if not sleeper.done():
                sleeper.set_result(None)


class MemorySink:
    """A sink in memory that can refuse what a test wants refused; the real one is proven elsewhere.

    Attributes:
        states: What it has.
        writes: How many writes were tried.
        outages: Errors that the next calls raise, one each.
        checks: How often it was checked.
        mismatch: What a check raises.
    """

    group = "test-group"

    def __init__(self, refuses: Callable[[MemoryState], bool] = lambda _: False) -> None:
        self.states: dict[MemoryName, MemoryState] = {}
        self.dead: list[DeadLettered] = []
        self.erased: list[Erased] = []
        self.watermarks: list[int] = []
        self.writes = 0
        self.outages: list[Exception] = []
        self._refuses = refuses
        self.checks = 0
        self.mismatch: MismatchError | None = None

    async def check(self) -> None:
        """Say what somebody has done to it."""
        self.checks += 1
        if self.mismatch is not None:
            raise self.mismatch

    async def write(
        self, events: Sequence[LoggedEvent], unapplied: Sequence[Unapplied], watermark: Watermark
    ) -> Sequence[Settlement]:
        """Take everything, or nothing when one state is refused."""
        folded = fold(events, self.states)
        self.writes += 1
        if self.outages:
            raise self.outages.pop(0)
        if any(self._refuses(state) for state in folded.states):
            raise PoisonError("refused")
        self.states |= {state.name: state for state in folded.states}
        self.dead.extend(each for each in unapplied if isinstance(each, DeadLettered))
        self.erased.extend(each for each in unapplied if isinstance(each, Erased))
        self.watermarks.append(watermark.next_offset)
        return folded.settlements


class RecordedDeadLetters:
    """A dead-letter topic in memory.

    Attributes:
        letters: What was written, in order.
        outages: Errors that the next writes raise, one each.
    """

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.outages: list[Exception] = []

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Take the letters."""
        if self.outages:
            raise self.outages.pop(0)
        self.letters.extend(letters)
