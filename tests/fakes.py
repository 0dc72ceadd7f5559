"""Stand-ins for what a test must control: time."""

import asyncio
from datetime import UTC, datetime, timedelta


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

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whoever has slept enough."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        due = [sleeper for until, sleeper in self._sleepers if until <= self._monotonic]
        self._sleepers = [each for each in self._sleepers if each[0] > self._monotonic]
        for sleeper in due:
            if not sleeper.done():
                sleeper.set_result(None)
