"""Where the index of this worker stands, by its own account, and whether it still is the one that it was."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import structlog

from soma_schemas.clock import Clock
from soma_schemas.vectors.points import Point
from soma_schemas.vectors.progress import HEADER_ID, Header, Held, header_of, held_of, ids_of
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.state import Watermark
from soma_streams.sinks.vectors.vector_sink_errors import IndexLostError
from soma_streams.sinks.vectors.writer import PointWriter

_LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 5.0

log = structlog.get_logger(__name__)


async def held_by(writer: PointWriter, partitions: Iterable[int]) -> Held | None:
    """Return what an index says of itself, or None when it says nothing."""
    wanted = list(partitions)
    header = header_of(await writer.read([HEADER_ID]))
    return None if header is None else held_of(header, await writer.read(ids_of(header, wanted)), wanted)


class Standing:
    """What one index holds.

    Args:
        writer: The engine.
        partitions: Of the log.

    Attributes:
        points: About how many points there are, as of the last look; None before the first.
    """

    def __init__(self, writer: PointWriter, partitions: Iterable[int]) -> None:
        self._writer = writer
        self._partitions = list(partitions)
        self._held: Held | None = None
        self.points: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing but the log's rest is missing of the index."""
        return self._held is not None

    def begin(self, held: Held) -> None:
        """Begin to work on the index that says this of itself; before anything else is asked."""
        self._held = held

    def point(self, watermark: Watermark) -> Point:
        """Return what is written along with everything below a watermark."""
        return self._header.progress_point(watermark.partition, watermark.next_offset)

    def check(self, payloads: Mapping[UUID, Mapping[str, Any]]) -> None:
        """Look whether the header that was just read is the one of this index.

        Raises:
            IndexLostError: It is not, or there is none.
        """
        if header_of(payloads) != self._header:
            raise IndexLostError(
                "the vector index was lost, or made anew, while this worker was writing to it"
            )

    async def offsets(self) -> Mapping[int, int]:
        """Return below which offset everything of each partition is in the index.

        While the index does not answer it is what was known last: a little less, and nobody gets on.

        Raises:
            IndexLostError: It is another index by now.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._look()
        except Exception as error:
            if classify(error) is not FailureClass.TRANSIENT:
                raise
        return {partition: self._begun.progress.get(partition, 0) for partition in self._partitions}

    async def watch(self, clock: Clock) -> None:
        """Look now and then, until cancelled, also while there is nothing to write.

        Raises:
            IndexLostError: It is another index by now, or another one is in use.
            Exception: The engine refuses for good, for example because the collection is gone.
        """
        while True:
            await clock.sleep(_LOOK_SECONDS)
            try:
                await self._look()
                await self._writer.check()
                self.points = await self._writer.count()
            except Exception as error:
                if classify(error) is not FailureClass.TRANSIENT:
                    raise
                log.debug("index_not_looked_at", error=type(error).__name__)

    @property
    def _begun(self) -> Held:
        if self._held is None:
            raise RuntimeError("the work on the index has not begun")
        return self._held

    @property
    def _header(self) -> Header:
        return self._begun.header

    async def _look(self) -> None:
        payloads = await self._writer.read(ids_of(self._header, self._partitions))
        self.check(payloads)
        self._held = held_of(self._header, payloads, self._partitions) or self._held
