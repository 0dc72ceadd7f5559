"""How fast an audit goes, and how far it has come."""

from collections.abc import Awaitable, Callable

from soma_schemas.clock import Clock, yield_now

Tell = Callable[[int, int], Awaitable[None]]


async def tell_nobody(done: int, total: int) -> None:
    """Take notice of nothing."""


class Pace:
    """Lets an audit do so much a second, or as much as it can.

    Args:
        clock: Paces.
        per_second: Records, rows and points; None for as many as it can.
        tell: Hears how many are done, and about how many there are.
    """

    def __init__(self, clock: Clock, per_second: float | None = None, tell: Tell = tell_nobody) -> None:
        self._clock = clock
        self._per_second = per_second
        self._tell = tell
        self._done = 0
        self.total = 0

    async def done(self, more: int) -> None:
        """Take notice of what is done, and pause for as long as it may take."""
        self._done += more
        await self._tell(self._done, max(self._done, self.total))
        if self._per_second is not None:
            await self._clock.sleep(more / self._per_second)
        else:
            await yield_now()
