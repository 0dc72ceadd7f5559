"""The watermarks of the sinks, in memory, and the requests that wait for a position."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from soma_schemas.groups import SinkGroup
from soma_schemas.versions import FIRST_EPOCH, Position, pack_version, unpack_version

READABLE = (SinkGroup.POSTGRES,)
SEARCHABLE = (SinkGroup.VECTORS,)
SETTLED = (SinkGroup.POSTGRES, SinkGroup.VECTORS)

_Place = tuple[str, int]  # group, partition


@dataclass(eq=False, slots=True)
class _Wait:
    """One request that waits: the versions that it still needs, and how to wake it."""

    needs: dict[_Place, int]
    woken: "asyncio.Future[None]"


@dataclass(eq=False, slots=True)
class _Watch:
    """Somebody who waits for anything that a sink settles."""

    group: str
    woken: "asyncio.Future[None]"


class WatermarkWaiter:
    """Knows the next offset of each sink and partition, and wakes whoever waits for one.

    It only ever moves forward: what an earlier epoch of the log had is settled, since no epoch begins before
    that. Make it on the event loop that it serves.

    Args:
        epoch: Of the log, as far as is known.

    Attributes:
        epoch: Of the log.
        informed: Whether it was told of every watermark that there was; before, it knows too little.
    """

    def __init__(self, epoch: int = FIRST_EPOCH) -> None:
        self._loop = asyncio.get_running_loop()
        self.epoch = epoch
        self._next_versions: dict[_Place, int] = {}
        self._waiting: dict[_Place, set[_Wait]] = {}
        self._watching: set[_Watch] = set()
        self._somebody = asyncio.Event()
        self.informed = False

    def begin(self, epoch: int) -> None:
        """Learn that another epoch has begun; who waits for an earlier one has waited long enough."""
        self.epoch = max(epoch, self.epoch)
        for place in list(self._waiting):
            self._wake(place, pack_version(self.epoch, 0))

    def advance(self, group: str, partition: int, next_offset: int, epoch: int = FIRST_EPOCH) -> None:
        """Learn that a sink has settled everything of an epoch below an offset. Callable from any thread."""
        next_version = pack_version(epoch, next_offset)
        running = None
        with suppress(RuntimeError):
            running = asyncio.get_running_loop()
        if running is self._loop:
            self._advance((group, partition), next_version)
        else:
            self._loop.call_soon_threadsafe(self._advance, (group, partition), next_version)

    def next_offset(self, group: str, partition: int) -> int:
        """Return the offset below which a sink has settled this epoch; 0 when nothing is known."""
        epoch, offset = unpack_version(self._next_version((group, partition)))
        return offset if epoch == self.epoch else 0

    def passed(self, groups: Iterable[str], positions: Sequence[Position]) -> bool:
        """Say whether all these sinks have settled all these positions."""
        return not self._unmet(groups, positions)

    def covers(self, group: str, ends: Mapping[int, int], epoch: int = FIRST_EPOCH) -> bool:
        """Say whether a sink has settled everything of an epoch below these offsets, by partition."""
        return all(
            self._next_version((group, partition)) >= pack_version(epoch, end)
            for partition, end in ends.items()
        )

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

    def settled(self, group: str) -> dict[int, int]:
        """Return the version below which a sink has settled everything, by partition, as far as is known."""
        return {partition: version for (of, partition), version in self._next_versions.items() if of == group}

    async def wait_beyond(self, group: str, seen: Mapping[int, int]) -> None:
        """Wait until a sink has settled more than it had, in any partition.

        Args:
            group: The sink.
            seen: As `settled` returned it.
        """
        watch = _Watch(group, self._loop.create_future())
        self._watching.add(watch)
        self._somebody.set()
        try:
            if self.settled(group) == seen:
                await watch.woken
        finally:
            self._watching.discard(watch)
            self._nobody()

    async def somebody_waits(self) -> None:
        """Return as soon as anybody waits."""
        await self._somebody.wait()

    def _unmet(self, groups: Iterable[str], positions: Sequence[Position]) -> dict[_Place, int]:
        needs: dict[_Place, int] = {}
        for group in groups:
            for position in positions:
                place = group, position.partition
                if self._next_version(place) <= position.version:
                    needs[place] = max(position.version, needs.get(place, 0))
        return needs

    def _next_version(self, place: _Place) -> int:
        return max(pack_version(self.epoch, 0), self._next_versions.get(place, 0))

    def _advance(self, place: _Place, next_version: int) -> None:
        if next_version <= self._next_versions.get(place, 0):
            return
        self._next_versions[place] = next_version
        self._wake(place, next_version)
        for watch in self._watching:
            if watch.group == place[0] and not watch.woken.done():
                watch.woken.set_result(None)

    def _wake(self, place: _Place, next_version: int) -> None:
        for wait in list(self._waiting.get(place, ())):
            if wait.needs.get(place, next_version) < next_version:
                del wait.needs[place]
                if not wait.needs and not wait.woken.done():
                    wait.woken.set_result(None)

    def _forget(self, wait: _Wait) -> None:
        for place, waits in list(self._waiting.items()):
            waits.discard(wait)
            if not waits:
                del self._waiting[place]
        self._nobody()

    def _nobody(self) -> None:
        if not self._waiting and not self._watching:
            self._somebody.clear()
