"""Opens sealed events of a batch, so that what was sealed is read as everything else is.

A dead letter keeps the record as the log has it. An event whose key was destroyed is erased: it is no poison,
and nobody can apply it again. One whose key nobody knows is a dead letter, for a restore may bring
it back.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol
from uuid import UUID

from soma_schemas.dead_letters import Stage
from soma_schemas.encryption.sealing import DataKey, TamperedError, open_sealed
from soma_schemas.events import SealedEvent
from soma_schemas.limits import Limits
from soma_schemas.moments import of_timestamp
from soma_schemas.versions import Position, pack_version
from soma_schemas.violations import ContractError
from soma_schemas.wire_format import schema_id_of
from soma_streams.delivery.decode import (
    Decoded,
    Item,
    Legible,
    Poison,
    RecordReader,
    UndecodableError,
    poison_of,
)
from soma_streams.delivery.first_place import first_place
from soma_streams.delivery.state import Erased
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.transport.records import Record, RecordBatch


class KnownKey(NamedTuple):
    """What is known of a data key.

    Attributes:
        tenant: Whose it is.
        key: None where it was destroyed.
    """

    tenant: str
    key: DataKey | None


class KeyReader(Protocol):
    """Where data keys come from."""

    async def read(self, key_ids: Collection[UUID]) -> Mapping[UUID, KnownKey]:
        """Return what is known of keys, as it is now.

        Raises:
            MasterKeyError: There is no master key, or not the right one.
        """
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A batch whose sealed events are opened.

    Attributes:
        batch: The records that can be read, with what was sealed as their values.
        ended: What the others are, by their offsets.
    """

    batch: RecordBatch
    ended: Mapping[int, Poison | Erased]
    _original: RecordBatch

    def whole(self, decoded: Decoded[Legible]) -> Decoded[Item]:
        """Return what the whole batch is, in arrival order.

        Args:
            decoded: What the records of `batch` are.
        """
        read = iter(decoded.items)
        items: list[Item] = [
            self.ended[record.offset] if record.offset in self.ended else _as_logged(next(read), record)
            for record in self._original.records
        ]
        return Decoded(tuple(items), decoded.native)


class SealedEvents:
    """Opens sealed events.

    Args:
        keys: Where data keys come from.
        limits: How large an event may be.
        epoch: Of the topic as it is now.
    """

    def __init__(self, keys: KeyReader, limits: Limits, epoch: int) -> None:
        self._keys = keys
        self._reader = RecordReader([SealedEvent], limits)
        self._epoch = epoch

    async def open(self, batch: RecordBatch, schemas: Mapping[int, WriterSchema]) -> Opened:
        """Return the batch without seals. The keys are asked for anew: a destroyed one opens nothing.

        Args:
            batch: As the log has it.
            schemas: That its records name.

        Raises:
            MasterKeyError: There is no master key, or not the right one.
            psycopg.Error: The keys cannot be read.
        """
        ended: dict[int, Poison | Erased] = {}
        sealed: dict[int, SealedEvent] = {}
        for record in _sealed(batch.records, schemas):
            try:
                sealed[record.offset] = self._event(record, schemas)
            except (UndecodableError, ContractError) as error:
                ended[record.offset] = poison_of(batch, record, Stage.DECODE, error)
        known = await self._keys.read({event.key_id for event in sealed.values()}) if sealed else {}
        readable: list[Record] = []
        for record in batch.records:
            event = sealed.get(record.offset)
            if event is not None:
                opened = self._open(batch, record, event, known.get(event.key_id))
                if not isinstance(opened, bytes):
                    ended[record.offset] = opened
                    continue
                readable.append(record._replace(value=opened))
            elif record.offset not in ended:
                readable.append(record)
        return Opened(replace(batch, records=tuple(readable)), ended, batch)

    def _event(self, record: Record, schemas: Mapping[int, WriterSchema]) -> SealedEvent:
        model, fields = self._reader.read(record, schemas)
        event = self._reader.validated(model, fields)
        if record.key != event.log_key():
            raise UndecodableError("key_mismatch", "the record's key is not `tenant/memory_id`")
        return event

    def _open(
        self, batch: RecordBatch, record: Record, event: SealedEvent, known: KnownKey | None
    ) -> bytes | Poison | Erased:
        try:
            key = _required(event, known)
            return self._erased(batch.partition, record, event) if key is None else open_sealed(event, key)
        except TamperedError as error:
            return poison_of(batch, record, Stage.DECODE, UndecodableError(error.code, str(error)))
        except UndecodableError as error:
            return poison_of(batch, record, Stage.DECODE, error)

    def _erased(self, partition: int, record: Record, event: SealedEvent) -> Erased:
        place = Position(partition, record.offset, self._epoch)
        try:
            first = first_place(record.headers)
        except ValueError as error:
            raise UndecodableError("replay_headers", "the headers of the replay are not usable") from error
        version = pack_version(self._epoch, record.offset) if first is None else first.version
        logged_at = of_timestamp(record.timestamp_ms) if first is None else first.logged_at
        return Erased(
            place, version, logged_at, event.tenant, event.memory_id, event.event_id, first is not None
        )


def has_sealed(schemas: Mapping[int, WriterSchema]) -> bool:
    """Say whether records that name these schemas may be sealed."""
    return any(_seals(schema) for schema in schemas.values())


def _sealed(records: Iterable[Record], schemas: Mapping[int, WriterSchema]) -> Iterator[Record]:
    for record in records:
        schema_id = None if record.value is None else schema_id_of(record.value)
        schema = None if schema_id is None else schemas.get(schema_id)
        if schema is not None and _seals(schema):
            yield record


def _required(event: SealedEvent, known: KnownKey | None) -> DataKey | None:
    # A key of another tenant would let that tenant's erasure reach this memory.
    if known is None or known.tenant != event.tenant:
        raise UndecodableError("data_key_unknown", f"the tenant has no data key {event.key_id}, and had none")
    return known.key


def _seals(schema: WriterSchema) -> bool:
    return schema.record == SealedEvent.__name__ and schema.fault is None


def _as_logged(item: Legible, record: Record) -> Legible:
    return replace(item, record=record) if isinstance(item, Poison) else item
