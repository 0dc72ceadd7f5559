"""The watermarks of the sinks, in memory, and the requests that wait for a position."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from soma_schemas.groups import SinkGroup
from soma_schemas.versions import Position

READABLE = (SinkGroup.POSTGRES,)
SEARCHABLE = (SinkGroup.VECTORS,)
SETTLED = (SinkGroup.POSTGRES, SinkGroup.VECTORS)

_Place = tuple[str, int]  # group, partition


@dataclass(eq=False, slots=True)
class _Wait:
    """One request that waits: what it still needs, and how to wake it."""

    needs: dict[_Place, int]
    woken: "asyncio.Future[None]"


class WatermarkWaiter:
    """Knows the next offset of each sink and partition, and wakes whoever waits for one.

    It only ever moves forward: a topic that is made anew wants a new process. Make it on the event loop that
    it serves.

    Attributes:
        informed: Whether it was told of every watermark that there was; before, it knows too little.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._next_offsets: dict[_Place, int] = {}
        self._waiting: dict[_Place, set[_Wait]] = {}
        self._somebody = asyncio.Event()
        self.informed = False

    def advance(self, group: str, partition: int, next_offset: int) -> None:
        """Learn that a sink has settled everything below an offset. Callable from any thread."""
        running = None
        with suppress(RuntimeError):
            running = asyncio.get_running_loop()
        if running is self._loop:
            self._advance((group, partition), next_offset)
        else:
            self._loop.call_soon_threadsafe(self._advance, (group, partition), next_offset)

    def next_offset(self, group: str, partition: int) -> int:
        """Return the offset below which a sink has settled everything; 0 when nothing is known."""
        return self._next_offsets.get((group, partition), 0)

    def passed(self, groups: Iterable[str], positions: Sequence[Position]) -> bool:
        """Say whether all these sinks have settled all these positions."""
        return not self._unmet(groups, positions)

    def covers(self, group: str, ends: Mapping[int, int]) -> bool:
        """Say whether a sink has settled everything below these offsets, by partition."""
        return all(self.next_offset(group, partition) >= end for partition, end in ends.items())

    async def wait(self, groups: Iterable[str], positions: Sequence[Position], seconds: float) -> bool:
        """Wait until all these sinks have settled all these positions, and say whether they have.

        Args:
            groups: The sinks.
            positions: Of one write or of many.
            seconds: How long to wait at most.
        """
        needs = self._unmet(groups, positions)
        if not needs:
            return True
        wait = _Wait(needs, self._loop.create_future())
        for place in needs:
            self._waiting.setdefault(place, set()).add(wait)
        self._somebody.set()
        try:
            async with asyncio.timeout(seconds):
                await wait.woken
        except TimeoutError:
            return False
        finally:
            self._forget(wait)
        return True

    async def somebody_waits(self) -> None:
        """Return as soon as anybody waits."""
        await self._somebody.wait()

    def _unmet(self, groups: Iterable[str], positions: Sequence[Position]) -> dict[_Place, int]:
        needs: dict[_Place, int] = {}
        for group in groups:
            for partition, offset in positions:
                if self.next_offset(group, partition) <= offset:
                    needs[group, partition] = max(offset, needs.get((group, partition), 0))
        return needs

    def _advance(self, place: _Place, next_offset: int) -> None:
        if next_offset <= self._next_offsets.get(place, 0):
            return
        self._next_offsets[place] = next_offset
        for wait in list(self._waiting.get(place, ())):
            if wait.needs.get(place, next_offset) < next_offset:
                del wait.needs[place]
                if not wait.needs and not wait.woken.done():
                    wait.woken.set_result(None)

    def _forget(self, wait: _Wait) -> None:
        for place, waits in list(self._waiting.items()):
            waits.discard(wait)
            if not waits:
                del self._waiting[place]
        if not self._waiting:
            self._somebody.clear()
