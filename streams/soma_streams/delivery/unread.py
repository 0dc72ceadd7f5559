"""Settles a few new memories without reading first what is there: a third of one event's time in a store.

It presumes that none of them was ever seen. The store refuses to write what is there already, so a wrong
guess writes nothing, and the batch goes the way on which the store is read.
"""

from collections.abc import Mapping
from typing import Protocol

from soma_schemas.events import MemoryStored
from soma_schemas.limits import Limits
from soma_streams.delivery.decode import Decoder
from soma_streams.delivery.fold import fold
from soma_streams.delivery.retry import Retry, unless_refused
from soma_streams.delivery.state import Folded, LoggedEvent, Outcome, Watermark
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.transport.records import RecordBatch

# In larger batches some memory is likely to be known, and a read costs little beside the write.
_MOST = 49
# A wrong guess costs as much as a read saves.
_READ_AFTER_A_WRONG_GUESS = 20


class UnreadSink(Protocol):
    """A store that can refuse what it has already."""

    @property
    def group(self) -> str:
        """Return its consumer group."""
        ...

    async def write_unseen(self, folded: Folded, watermark: Watermark) -> None:
        """Make it durable, all or nothing; an error tells that something is there already."""
        ...


class Unread:
    """Settles small batches of new memories.

    Args:
        sink: Where the events are applied.
        decoder: Turns records into events.
        retry: Waits out what passes.
        limits: How large a memory may be.
        epoch: Of the topic as it is now.
    """

    def __init__(self, sink: UnreadSink, decoder: Decoder, retry: Retry, limits: Limits, epoch: int) -> None:
        self._sink = sink
        self._decoder = decoder
        self._retry = retry
        self._limits = limits
        self._epoch = epoch
        self._to_read = 0

    async def settle(
        self, batch: RecordBatch, schemas: Mapping[int, WriterSchema]
    ) -> Mapping[Outcome, int] | None:
        """Return the outcomes, or None when nothing was written and the store has to be read.

        Raises:
            Exception: Something systemic; nothing of the batch may be acknowledged.
        """
        if not 0 < len(batch.records) <= _MOST:
            return None
        if any(schema.record != MemoryStored.__name__ for schema in schemas.values()):
            # Known without decoding, which whoever settles the batch instead does again.
            return None
        if self._to_read:
            self._to_read -= 1
            return None
        decoded = await self._decoder.decode_in_turns(batch, schemas)
        events = decoded.events
        if decoded.poison or not all(map(_may_be_new, events)) or len({e.name for e in events}) < len(events):
            return None
        folded = fold(events, {}, self._limits)
        watermark = Watermark(self._sink.group, batch.topic, batch.partition, self._epoch, batch.next_offset)

        async def write() -> bool:
            await self._sink.write_unseen(folded, watermark)
            return True

        if not await unless_refused(self._retry, "write", write):
            self._to_read = _READ_AFTER_A_WRONG_GUESS
            return None
        return {Outcome.APPLIED: len(events)}


def _may_be_new(logged: LoggedEvent) -> bool:
    event = logged.event
    return (
        isinstance(event, MemoryStored)
        and event.expected_version is None
        and logged.position is logged.origin
    )
