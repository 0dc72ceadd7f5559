"""Whether the vector index contains every settled event, by its own record."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import structlog

from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError
from soma_schemas.groups import SinkGroup
from soma_schemas.vectors.progress import HEADER_ID, Header, Held, LogIdentity, header_of, held_of, ids_of

_AGAIN_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IndexState:
    """How much of what it should have an index has.

    Attributes:
        complete: It has everything that the vector sink ever settled.
        filled: The share that it has, from 0 to 1; None while nobody knows.
    """

    complete: bool
    filled: float | None


UNKNOWN = IndexState(complete=False, filled=None)


class IndexLook(Protocol):
    """Knows how complete the index is."""

    async def look(self) -> IndexState:
        """Return how complete it is now.

        Raises:
            SomaError: The index does not answer.
        """
        ...


class PointsById(Protocol):
    """The part of an engine that tells what an index says of itself."""

    async def read(self, ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return the payloads of the points that are there."""
        ...


def state_of(held: Held | None, identity: LogIdentity | None, settled: Mapping[int, int]) -> IndexState:
    """Decide how complete an index is: pure.

    An index that says nothing, or of which log nobody knows whether it is ours, is not complete.

    Args:
        held: What it says of itself.
        identity: The log that it is to hold, once the brokers have told.
        settled: Up to where the vector sink ever settled each partition.
    """
    if held is None or identity is None or held.header.log != identity:
        return UNKNOWN
    if held.unfilled:
        fill = held.fill
        return IndexState(
            complete=False, filled=0.0 if fill is None else min(1.0, fill.filled / max(1, fill.total))
        )
    lacking = sum(max(0, offset - held.progress.get(partition, 0)) for partition, offset in settled.items())
    total = sum(settled.values())
    return IndexState(complete=not lacking, filled=1.0 if not lacking else 1.0 - lacking / total)


class Completeness:
    """Compares what the index says of itself with how far the vector sink ever came.

    Args:
        points: Of the engine.
        waiter: How far the sink came.
        identify: Asks the brokers which log this is.
        partitions: Of the log.
        clock: Paces the asking.
    """

    def __init__(
        self,
        *,
        points: PointsById,
        waiter: WatermarkWaiter,
        identify: Callable[[], Awaitable[LogIdentity]],
        partitions: Collection[int],
        clock: Clock,
    ) -> None:
        self._points = points
        self._waiter = waiter
        self._identify = identify
        self._partitions = partitions
        self._clock = clock
        self._identity: LogIdentity | None = None
        self._header: Header | None = None

    async def follow(self, partitions: Collection[int]) -> None:
        """Compare with another log from now on, once the brokers have told which one it is.

        Args:
            partitions: Its own.
        """
        self._partitions = partitions
        self._identity = None
        await self.run()

    async def run(self) -> None:
        """Ask the brokers which log this is until they have told."""
        while self._identity is None:
            try:
                self._identity = await self._identify()
            except SomaError as error:
                log.debug("log_not_identified", error=type(error).__name__)
                await self._clock.sleep(_AGAIN_SECONDS)

    async def look(self) -> IndexState:
        """Return how complete the index is now.

        Raises:
            SomaError: The index does not answer.
        """
        if not self._waiter.informed:
            return UNKNOWN
        # Before the index is asked: what is settled meanwhile may not be in the answer.
        settled = self._settled()
        return state_of(await self._held(), self._identity, settled)

    async def judge(self, points: PointsById) -> IndexState:
        """Return how complete another index is than the one that is searched.

        Raises:
            SomaError: It does not answer.
        """
        if not self._waiter.informed:
            return UNKNOWN
        settled = self._settled()
        header = header_of(await points.read([HEADER_ID]))
        if header is None:
            return UNKNOWN
        payloads = await points.read(ids_of(header, self._partitions))
        return state_of(held_of(header, payloads, self._partitions), self._identity, settled)

    def _settled(self) -> Mapping[int, int]:
        return {
            partition: self._waiter.next_offset(SinkGroup.VECTORS, partition)
            for partition in self._partitions
        }

    async def _held(self) -> Held | None:
        """Return what the index says; in one request, unless it was made anew since the last one."""
        for _ in range(2):
            wanted = [HEADER_ID] if self._header is None else ids_of(self._header, self._partitions)
            payloads = await self._points.read(wanted)
            known, self._header = self._header, header_of(payloads)
            if self._header is None:
                return None
            if known == self._header:
                return held_of(known, payloads, self._partitions)
        return None
