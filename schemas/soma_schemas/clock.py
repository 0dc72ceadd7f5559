"""Time as a part that is handed in, so that tests can own it."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a process may know and do about time."""

    def now(self) -> datetime:
        """Return the time of day in UTC: for what is written down."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards: for what is measured."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Pause this task for that many seconds."""
        ...


class BlockingClock(Clock, Protocol):
    """The same for code that runs no event loop."""

    def block(self, seconds: float) -> None:
        """Pause this thread for that many seconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Pause this task for that many seconds."""
        await asyncio.sleep(seconds)

    def block(self, seconds: float) -> None:
        """Pause this thread for that many seconds; for command-line code that runs no event loop."""
        time.sleep(seconds)


async def yield_now() -> None:
    """Let other tasks of this event loop run once."""
    await asyncio.sleep(0)
