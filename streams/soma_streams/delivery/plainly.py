"""Settles what is plain of a batch side by side: new memories, each told of once, by valid events.

Everything else of the batch is decoded and folded event by event, and written in the same transaction. Where
anything is odd, or was found out by the store, nothing has been written, and the batch goes the way on which
each event is looked at: there alone it is decided what is poison, and why.
"""

from binascii import unhexlify
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from soma_schemas.dead_letters import REPLAY_OFFSET_HEADER
from soma_schemas.events import MemoryStored
from soma_schemas.limits import Limits
from soma_schemas.versions import pack_version
from soma_streams.delivery.decode import Decoder, wire_header
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.fold import after_guard, fold
from soma_streams.delivery.plain import PlainEvents, PlainReader
from soma_streams.delivery.retry import Retry, unless_refused
from soma_streams.delivery.state import (
    Folded,
    KnownState,
    LoggedEvent,
    MemoryName,
    Outcome,
    Refused,
    Watermark,
)
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.transport.records import Record, RecordBatch

# Fewer are faster one by one: what is done per column costs a millisecond.
_FEWEST = 50
# Larger ones are few, and one that is a long list would hold up everything else.
_MOST_BYTES = 64 * 1024
_ID_CHARACTERS = 36
_ID_BYTES = 16


class PlainSink(Protocol):
    """A store that takes plain events as columns."""

    @property
    def group(self) -> str:
        """Return its consumer group."""
        ...

    async def seen(self, tenants: Sequence[bytes], memory_ids: bytes) -> Collection[int]:
        """Return which of these memories it has, tombstones included, by their places."""
        ...

    async def current(self, events: Sequence[LoggedEvent]) -> Mapping[MemoryName, KnownState]:
        """Return what it has of the memories that these events are about, tombstones included."""
        ...

    async def write_plain(self, plain: PlainEvents, folded: Folded, watermark: Watermark) -> Refused:
        """Make it durable, all or nothing; an error tells that something of the plain events is there."""
        ...


class Plainly:
    """Settles batches that are mostly plain.

    Args:
        sink: Where the events are applied.
        decoder: Turns the other records into events.
        retry: Waits out what passes.
        limits: How large an event and a memory may be.
        epoch: Of the topic as it is now.
    """

    def __init__(self, sink: PlainSink, decoder: Decoder, retry: Retry, limits: Limits, epoch: int) -> None:
        self._sink = sink
        self._decoder = decoder
        self._retry = retry
        self._limits = limits
        self._epoch = epoch
        self._judged: dict[int, tuple[WriterSchema, PlainReader | None]] = {}

    async def settle(
        self, batch: RecordBatch, schemas: Mapping[int, WriterSchema]
    ) -> Mapping[Outcome, int] | None:
        """Return the outcomes, or None when the batch has to be looked at event by event.

        Raises:
            Exception: Something systemic; nothing of the batch may be acknowledged.
        """
        pack_version(self._epoch, batch.last_offset)  # raises for what no version can hold
        reader, likely = self._likely(batch, schemas)
        plain = await self._plain(reader, likely) if reader is not None else None
        if plain is None:
            return None
        taken = set(plain.offsets.tolist())
        others = tuple(record for record in batch.records if record.offset not in taken)
        events: tuple[LoggedEvent, ...] = ()
        if others:
            decoded = await self._decoder.decode_in_turns(replace(batch, records=others), schemas)
            events = decoded.events
            if decoded.poison or any(each.position is not each.origin for each in events):
                return None
        watermark = Watermark(self._sink.group, batch.topic, batch.partition, self._epoch, batch.next_offset)
        return await self._written(plain, events, watermark)

    async def _written(
        self, plain: PlainEvents, events: Sequence[LoggedEvent], watermark: Watermark
    ) -> Mapping[Outcome, int] | None:
        current: Mapping[MemoryName, KnownState] | None = {}
        if events:
            current = await unless_refused(
                self._retry, "read current state", lambda: self._sink.current(events)
            )
        if current is None:
            return None
        try:
            folded = fold(events, current, self._limits)
        except Exception as error:
            if classify(error) is FailureClass.POISON:
                return None
            raise
        refused = await unless_refused(
            self._retry, "write", lambda: self._sink.write_plain(plain, folded, watermark)
        )
        if refused is None:
            return None
        outcomes = Counter(each.outcome for each in after_guard(folded.settlements, refused))
        outcomes[Outcome.APPLIED] += len(plain)
        return outcomes

    def _likely(
        self, batch: RecordBatch, schemas: Mapping[int, WriterSchema]
    ) -> tuple[PlainReader | None, list[Record]]:
        """Return the records that may be plain, in the order of their keys, and what reads them."""
        if len(batch.records) < _FEWEST:
            return None, []
        schema_id, reader = next(
            ((number, found) for number, each in schemas.items() if (found := self._reader(number, each))),
            (0, None),
        )
        header = wire_header(schema_id)
        told = Counter([record.key for record in batch.records])
        likely = [
            record
            for record in batch.records
            if record.key is not None
            and told[record.key] == 1
            and record.value is not None
            and record.value.startswith(header)
            and len(record.value) <= _MOST_BYTES
            and not any(name == REPLAY_OFFSET_HEADER for name, _ in record.headers)
        ]
        # So that two writers that overlap lock in one order.
        return reader, sorted(likely, key=lambda record: record.key or b"")

    def _reader(self, schema_id: int, schema: WriterSchema) -> PlainReader | None:
        known = self._judged.get(schema_id)
        if known is None or known[0] is not schema:
            plain = schema.version is not None and schema.record == MemoryStored.__name__
            reader = PlainReader.of(schema.parsed, self._limits) if plain else None
            known = self._judged[schema_id] = (schema, reader)
        return known[1]

    async def _plain(self, reader: PlainReader, likely: Sequence[Record]) -> PlainEvents | None:
        """Return those events that are plain, unless they are few."""
        if len(likely) < _FEWEST:
            return None
        keys = [record.key or b"" for record in likely]
        try:
            # A key that is none of ours is found out when its record is read. Should it have put others out
            # of their places, the store will refuse to write what is there.
            ids = unhexlify(b"".join([key[-_ID_CHARACTERS:] for key in keys]).replace(b"-", b""))
        except ValueError:
            return None
        if len(ids) != _ID_BYTES * len(keys):
            return None
        tenants = [key[: -_ID_CHARACTERS - 1] for key in keys]
        seen = await unless_refused(self._retry, "read what is there", lambda: self._sink.seen(tenants, ids))
        if seen is None:
            return None
        records = [record for place, record in enumerate(likely) if place not in seen]
        while len(records) >= _FEWEST:
            read = reader.read(records)
            if isinstance(read, PlainEvents):
                return read
            records = [record for record, sound in zip(records, read.tolist(), strict=True) if sound]
        return None
