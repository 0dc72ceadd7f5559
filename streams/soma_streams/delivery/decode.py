"""From bytes to valid events: pure, total, and honest about what can never be one."""

import asyncio
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

import fastavro
import httpx2
from confluent_kafka.schema_registry import SchemaRegistryError
from pydantic import TypeAdapter

from soma_schemas import events
from soma_schemas.avro_schemas import latest
from soma_schemas.clock import yield_now
from soma_schemas.dead_letters import Stage
from soma_schemas.events import MemoryEvent
from soma_schemas.fields import Tenant
from soma_schemas.limits import Limits
from soma_schemas.moments import of_timestamp
from soma_schemas.registry import RegistryUnreachableError, open_async_registry, registry_refusal
from soma_schemas.settings import RegistrySettings
from soma_schemas.versions import Position, pack_version, unpack_version
from soma_schemas.violations import ContractError
from soma_schemas.wire_format import HEADER_BYTES, schema_id_of
from soma_streams.delivery.first_place import first_place, is_replay
from soma_streams.delivery.native import NativeEvent, NativeReader, NativeSource
from soma_streams.delivery.state import DeadLettered, Erased, LoggedEvent
from soma_streams.delivery.writer_schemas import WriterSchema, judged
from soma_streams.transport.records import Record, RecordBatch, Unreadable

if TYPE_CHECKING:
    from soma_native import Read

R = TypeVar("R", bound=events.Record)

_NOT_FOUND = 404
# What a registry gives out; how one answers about other numbers is not for a record to find out.
_SCHEMA_IDS = range(1, 2**31)
# What is made to take long takes some microseconds a byte.
_BYTES_A_TURN = 32 * 1024
_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)

# What fastavro raises on bytes that are not of the schema, found by feeding it random and truncated ones.
_UNREADABLE_BODY = (
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    StopIteration,
    TypeError,
    UnicodeDecodeError,
    ValueError,
    MemoryError,
    fastavro.read.SchemaResolutionError,
)


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that can never be applied.

    Attributes:
        code: A stable name of the reason.
        message: The reason in words, without content.
    """

    topic: str
    partition: int
    record: Record
    stage: Stage
    code: str
    message: str
    error_class: str


Legible = LoggedEvent | Poison
Item = Legible | Erased
I_co = TypeVar("I_co", bound=Item, covariant=True)


@dataclass(frozen=True, slots=True)
class Decoded(Generic[I_co]):
    """A batch in arrival order: each record is an event, poison, or erased.

    Attributes:
        native: How many were read natively.
    """

    items: tuple[I_co, ...]
    native: int = 0

    @property
    def events(self) -> tuple[LoggedEvent, ...]:
        """Return the valid events, in arrival order."""
        return tuple(item for item in self.items if isinstance(item, LoggedEvent))

    @property
    def poison(self) -> tuple[Poison, ...]:
        """Return what can never be one, in arrival order."""
        return tuple(item for item in self.items if isinstance(item, Poison))

    @property
    def erased(self) -> tuple[Erased, ...]:
        """Return what nobody can read any more, in arrival order."""
        return tuple(item for item in self.items if isinstance(item, Erased))


class WriterSchemas:
    """The writer schemas, fetched from the registry by id, judged once, and kept."""

    def __init__(self, settings: RegistrySettings) -> None:
        # Retrying is the delivery's own task: it pauses fetching and tells about it.
        self._client = open_async_registry(settings)
        self._known: dict[int, WriterSchema] = {}

    async def fetch(self, ids: Iterable[int]) -> Mapping[int, WriterSchema]:
        """Return the schema of each id; an id that the registry does not know is missing.

        Raises:
            SchemaRegistryError: The registry refuses to answer.
            RegistryAccessError: It does not let this process in.
            RegistryUnreachableError: What answers is no registry.
            httpx2.HTTPError: It cannot be reached.
        """
        wanted = set(ids)
        for schema_id in wanted - self._known.keys():
            if schema_id not in _SCHEMA_IDS:
                continue
            try:
                schema = await self._client.get_schema(schema_id)
            except SchemaRegistryError as error:
                if error.http_status_code == _NOT_FOUND:
                    continue
                raise registry_refusal(error, f"schema {schema_id}") or error from error
            except httpx2.HTTPError as error:
                refusal = await asyncio.to_thread(registry_refusal, error, f"schema {schema_id}")
                raise refusal or error from error
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                # A page of a proxy, say: it tells nothing of the event.
                raise RegistryUnreachableError("what answers for the registry is no registry") from error
            self._known[schema_id] = judged(
                schema.schema_str or "", schema.schema_type, refers=bool(schema.references)
            )
        return {schema_id: self._known[schema_id] for schema_id in wanted & self._known.keys()}

    async def close(self) -> None:
        """Let go of the registry."""
        await self._client.aclose()


def most_reads(limits: Limits) -> int:
    """Return how often an event within these limits makes fastavro read, and room for fields of others."""
    return 4096 + 4 * (limits.embedding_dimensions + limits.coordinate_dimensions + limits.tags)


class _Bounded(io.BytesIO):
    """Bytes that end when they were read too often, or when more is asked for than there is.

    Each item of a value takes at least one read. What fastavro skips, it does not miss at the end.
    """

    def __init__(self, value: bytes, reads: int) -> None:
        super().__init__(value)
        self._left = reads

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        found = super().read(size)
        if self._left < 0 or (size is not None and len(found) < size):
            raise EOFError
        return found


def read_body(value: bytes, schema: WriterSchema, reads: int, reader: Any = None) -> tuple[Any, int]:
    """Return what a value in wire format holds, and how many bytes follow it.

    Args:
        value: Under this schema's id.
        schema: That may be read with.
        reads: How many items it may have, about.
        reader: As fastavro parses it, to which the fields are fitted; None leaves them as written.

    Raises:
        UndecodableError: The body is not of its schema.
    """
    # Counting costs as much as reading. A value that is short, and of which nothing is skipped, needs none.
    plain = schema.version is not None and len(value) <= reads
    body = io.BytesIO(value) if plain else _Bounded(value, reads)
    body.seek(HEADER_BYTES)
    try:
        fields = fastavro.schemaless_reader(body, schema.parsed, reader)
    except _UNREADABLE_BODY as error:
        raise UndecodableError(
            "avro", "the body is not of its schema", error_class=type(error).__name__
        ) from error
    return fields, len(value) - body.tell()


def schema_ids(records: Iterable[Record]) -> set[int]:
    """Return the schema ids that these records name."""
    return {
        schema_id
        for record in records
        if (value := record.value) is not None and (schema_id := schema_id_of(value)) is not None
    }


class RecordReader(Generic[R]):
    """Turns the values of one topic's records into what the topic carries.

    Args:
        carried: The models of what the topic carries.
        limits: How large an event may be.
    """

    def __init__(self, carried: Sequence[type[R]], limits: Limits) -> None:
        self._models = {model.__name__: model for model in carried}
        self._readers = {name: fastavro.parse_schema(latest(name).parsed()) for name in self._models}
        self._limits = limits
        self._reads = most_reads(limits)

    def read(self, record: Record, schemas: Mapping[int, WriterSchema]) -> tuple[type[R], dict[str, Any]]:
        """Return the fields that a record holds, and the model that they are of.

        Raises:
            UndecodableError: It holds none.
        """
        value = record.value
        if value is None:
            raise UndecodableError("null_value", "the record has no value")
        if isinstance(value, Unreadable):
            raise UndecodableError(
                "unreadable_record", "the record is too large to be read, or its batch cannot be taken apart"
            )
        schema_id = schema_id_of(value)
        if schema_id is None:
            raise UndecodableError("not_wire_format", "the value does not begin with a schema id")
        schema = schemas.get(schema_id)
        if schema is None:
            raise UndecodableError("unknown_schema_id", f"the registry does not know schema id {schema_id}")
        if schema.fault is not None:
            raise UndecodableError(
                "foreign_schema", f"schema id {schema_id} is not read with: {schema.fault}"
            )
        model = self._models.get(schema.record)
        if model is None:
            raise UndecodableError("unexpected_record", f"schema id {schema_id} is no record of this topic")
        fields, left = read_body(value, schema, self._reads, self._readers[schema.record])
        if left:
            raise UndecodableError("trailing_bytes", "the value goes on after its body")
        if not isinstance(fields, dict):
            raise UndecodableError("avro", "the body is no record")
        return model, fields

    def validated(self, model: type[R], fields: Mapping[str, Any]) -> R:
        """Return what fields make.

        Raises:
            ContractError: They break the contract.
        """
        return model.validated(fields, self._limits)


class Decoder:
    """Turns records of one topic into events.

    Args:
        carried: The event models that the topic carries.
        limits: How large an event may be.
        epoch: Of the topic as it is now.
        native: Reads what it is certain of. The rest, or all, is for the reference: fastavro and the models.
    """

    def __init__(
        self,
        carried: Sequence[type[MemoryEvent]],
        limits: Limits,
        epoch: int,
        native: NativeReader | None = None,
    ) -> None:
        self._reader = RecordReader(carried, limits)
        self._epoch = epoch
        self._native = native

    def decode(self, batch: RecordBatch, schemas: Mapping[int, WriterSchema]) -> Decoded[Legible]:
        """Return what the records are, in arrival order. Never raises for what a record holds."""
        read = self._read_natively(batch, schemas)
        return Decoded(tuple(self._items(batch, schemas, read)), _count_sound(read))

    async def decode_in_turns(
        self, batch: RecordBatch, schemas: Mapping[int, WriterSchema], *, by_reference: bool = False
    ) -> Decoded[Legible]:
        """Return what `decode` does, and let others run in between: one record may take long.

        Args:
            batch: The records.
            schemas: That they name.
            by_reference: Whether nothing is read natively.
        """
        read = None if by_reference else self._read_natively(batch, schemas)
        items: list[Legible] = []
        size = 0
        for record, item in zip(batch.records, self._items(batch, schemas, read), strict=True):
            items.append(item)
            size += len(record.value or b"") if not isinstance(item, NativeEvent) else 0
            if size >= _BYTES_A_TURN:
                size = 0
                await yield_now()
        return Decoded(tuple(items), _count_sound(read))

    def dead_lettered(self, poison: Poison) -> DeadLettered:
        """Return what is known of a record that cannot be applied."""
        record = poison.record
        tenant, memory_id = read_key(record.key)
        return DeadLettered(
            position=Position(poison.partition, record.offset, self._epoch),
            version=pack_version(self._epoch, record.offset),
            logged_at=of_timestamp(record.timestamp_ms),
            tenant=tenant,
            memory_id=memory_id,
            code=poison.code,
        )

    def _read_natively(self, batch: RecordBatch, schemas: Mapping[int, WriterSchema]) -> "Read | None":
        return self._native.read(batch.records, schemas) if self._native is not None else None

    def _items(
        self, batch: RecordBatch, schemas: Mapping[int, WriterSchema], read: "Read | None"
    ) -> Iterator[Legible]:
        first = pack_version(self._epoch, 0)
        pack_version(self._epoch, batch.last_offset)  # raises for what no version can hold
        timestamp, logged_at = 0, of_timestamp(0)
        for number, record in enumerate(batch.records):
            if self._native is None or read is None or not read.verdicts[number]:
                yield self._decode_one(batch, record, schemas)
            elif record.headers and is_replay(record.headers):
                yield self._decode_one(batch, record, schemas, self._native.event(read, number))
            else:
                if record.timestamp_ms != timestamp:
                    # The records of one append have one time.
                    timestamp, logged_at = record.timestamp_ms, of_timestamp(record.timestamp_ms)
                place = Position(batch.partition, record.offset, self._epoch)
                version = first + record.offset
                source = NativeSource(self._native, read, number)
                yield NativeEvent(source, record.key or b"", place, version, logged_at)

    def _decode_one(
        self,
        batch: RecordBatch,
        record: Record,
        schemas: Mapping[int, WriterSchema],
        event: MemoryEvent | None = None,
    ) -> Legible:
        stage = Stage.DECODE
        try:
            if event is None:
                model, fields = self._reader.read(record, schemas)
                stage = Stage.VALIDATE
                event = self._reader.validated(model, fields)
            stage = Stage.VALIDATE
            return self._logged(batch.partition, record, event)
        except (UndecodableError, ContractError) as error:
            return poison_of(batch, record, stage, error)

    def _logged(self, partition: int, record: Record, event: MemoryEvent) -> LoggedEvent:
        if record.key != event.log_key():
            raise UndecodableError("key_mismatch", "the record's key is not `tenant/memory_id`")
        position = Position(partition, record.offset, self._epoch)
        version, logged_at = pack_version(self._epoch, record.offset), of_timestamp(record.timestamp_ms)
        try:
            first = first_place(record.headers)
        except ValueError as error:
            raise UndecodableError("replay_headers", "the headers of the replay are not usable") from error
        if first is None:
            return LoggedEvent(event, position, position, version, logged_at)
        if first.version >= version or first.logged_at > logged_at:
            # Otherwise anyone could write a version that nothing ever supersedes.
            raise UndecodableError("replay_headers", "the replay claims a place or a time after its own")
        origin = Position(partition, first.offset, unpack_version(first.version)[0])
        return LoggedEvent(event, position, origin, first.version, first.logged_at)


def poison_of(
    batch: RecordBatch, record: Record, stage: Stage, error: "UndecodableError | ContractError"
) -> Poison:
    """Return a record of a batch as poison, for the reason that an error gives."""
    if isinstance(error, UndecodableError):
        reason, error_class = error.reason, error.error_class
    else:
        reason, error_class = error.violations[0].code.value, type(error).__name__
    return Poison(batch.topic, batch.partition, record, stage, reason, str(error), error_class)


def _count_sound(read: "Read | None") -> int:
    return len(read.verdicts) - read.verdicts.count(0) if read is not None else 0


class UndecodableError(Exception):
    """Why a record is no event.

    Attributes:
        reason: The code of the dead letter that it becomes.
    """

    def __init__(self, reason: str, message: str, error_class: str = "DecodeError") -> None:
        super().__init__(message)
        self.reason = reason
        self.error_class = error_class


def read_key(key: bytes | None) -> tuple[str, UUID] | tuple[None, None]:
    """Return which memory the key of a record names, or nothing when it is no key of ours."""
    try:
        tenant, _, memory_id = (key or b"").decode("ascii").partition("/")
        # A tenant that no table takes would make poison of the row that tells of poison.
        return _TENANT.validate_python(tenant), UUID(memory_id)
    except ValueError:
        return None, None
