"""Settle the records of a compacted topic: each says what holds for its key, or that nothing does."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog
from pydantic import TypeAdapter

from soma_schemas import tracing
from soma_schemas.clock import Clock
from soma_schemas.dead_letters import Stage
from soma_schemas.errors import SomaError
from soma_schemas.events import Record as Event
from soma_schemas.fields import Tenant
from soma_schemas.outcomes import Outcome
from soma_schemas.versions import pack_version, unpack_version
from soma_schemas.violations import ContractError
from soma_streams.delivery.dead_letters import DeadLetter, DeadLetterWriter
from soma_streams.delivery.decode import Poison, RecordReader, UndecodableError, poison_of, schema_ids
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry, Store
from soma_streams.delivery.settle import Schemas, Settled, write_code, write_message
from soma_streams.delivery.state import DecodedBy, Watermark
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.transport.records import Record, RecordBatch

E = TypeVar("E", bound=Event)

_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)


@dataclass(frozen=True, slots=True)
class Statement(Generic[E]):
    """What a record says of its key.

    Attributes:
        tenant: Whose it is; the first part of the key.
        name: The rest of the key.
        said: What holds from now on; None for a tombstone.
        version: Made of the epoch and its offset.
    """

    tenant: str
    name: str
    said: E | None
    version: int


class StatementSink(Protocol[E]):
    """A store behind a compacted topic."""

    @property
    def group(self) -> str:
        """Return its consumer group."""
        ...

    async def check(self) -> None:
        """Return when the store is as declared, so that a refusal can only be a record's fault.

        Raises:
            MismatchError: It is not.
        """
        ...

    async def write(self, statements: Sequence[Statement[E]], watermark: Watermark) -> int:
        """Make statements durable with their watermark, in order, and return how many were new.

        Writing them again changes nothing: what lies below the watermark that is held is settled.
        """
        ...


class StatementSettler(Generic[E]):
    """Settles one batch at a time for one sink: each record is applied, superseded, or a dead letter.

    Args:
        sink: Where the statements are applied.
        reader: Turns values into what the topic carries.
        schemas: Where writer schemas come from.
        dead_letters: Where poison goes.
        retry: Waits out what passes.
        clock: Tells when a record failed.
        flood: Stops a flood of dead letters.
        epoch: Of the topic as it is now.
    """

    def __init__(
        self,
        *,
        sink: StatementSink[E],
        reader: RecordReader[E],
        schemas: Schemas,
        dead_letters: DeadLetterWriter,
        retry: Retry,
        clock: Clock,
        flood: FloodGuard,
        epoch: int,
    ) -> None:
        self._sink = sink
        self._reader = reader
        self._schemas = schemas
        self._dead_letters = dead_letters
        self._retry = retry
        self._clock = clock
        self._flood = flood
        self._epoch = epoch
        self._log = structlog.get_logger("soma_streams.delivery.compacted").bind(group=sink.group)

    async def settle(self, batch: RecordBatch) -> Settled:
        """Return when every record of the batch has its final outcome, however long the stores are away.

        Raises:
            Exception: Something systemic; nothing of the batch may be acknowledged.
        """
        ids = schema_ids(batch.records)
        schemas = await self._retry("read schemas", lambda: self._schemas.fetch(ids), Store.REGISTRY)
        began = self._clock.monotonic()
        with tracing.part("decode"):
            read = [self._read(batch, record, schemas) for record in batch.records]
        decoded = self._clock.monotonic()
        dead: Counter[tuple[Stage, str]] = Counter()
        for each in read:
            self._flood.observe(dead_lettered=isinstance(each, Poison))
        await self._dead_letter([each for each in read if isinstance(each, Poison)], dead)
        statements = [each for each in read if not isinstance(each, Poison)]
        applied = await self._write(batch, statements, batch.next_offset, dead)
        return Settled(
            batch.partition,
            batch.next_offset,
            {
                Outcome.APPLIED: applied,
                Outcome.SUPERSEDED: len(read) - applied - dead.total(),
                Outcome.DEAD_LETTERED: dead.total(),
            },
            {DecodedBy.REFERENCE: len(read)},
            dead_letters=dead,
            decode_seconds=decoded - began,
            write_seconds=self._clock.monotonic() - decoded,
        )

    def _read(
        self, batch: RecordBatch, record: Record, schemas: Mapping[int, WriterSchema]
    ) -> Statement[E] | Poison:
        stage = Stage.DECODE
        try:
            said = None
            if record.value is not None:
                model, fields = self._reader.read(record, schemas)
                stage = Stage.VALIDATE
                said = self._reader.validated(model, fields)
            stage = Stage.VALIDATE
            tenant, name = _checked_key(record.key, said)
            return Statement(tenant, name, said, pack_version(self._epoch, record.offset))
        except (UndecodableError, ContractError) as error:
            return poison_of(batch, record, stage, error)

    async def _write(
        self,
        batch: RecordBatch,
        statements: Sequence[Statement[E]],
        next_offset: int,
        dead: Counter[tuple[Stage, str]],
    ) -> int:
        """Write statements, halved until what the store refuses stands alone; return how many were new."""
        watermark = Watermark(self._sink.group, batch.topic, batch.partition, self._epoch, next_offset)
        try:
            return await self._retry("write", lambda: self._sink.write(statements, watermark))
        except Exception as error:
            if classify(error) is not FailureClass.POISON or not statements:
                if not isinstance(error, SomaError):
                    await self._sink.check()  # a store that somebody has changed is told in words
                raise
            if len(statements) > 1:
                middle = len(statements) // 2
                _, boundary = unpack_version(statements[middle].version)
                first = await self._write(batch, statements[:middle], boundary, dead)
                return first + await self._write(batch, statements[middle:], next_offset, dead)
            await self._retry("check the store", self._sink.check)
            self._flood.observe(dead_lettered=True)
            _, offset = unpack_version(statements[0].version)
            poison = Poison(
                topic=batch.topic,
                partition=batch.partition,
                record=next(record for record in batch.records if record.offset == offset),
                stage=Stage.WRITE,
                code=write_code(error),
                message=write_message(error),
                error_class=type(error).__name__,
            )
            await self._dead_letter([poison], dead)
            return await self._write(batch, [], next_offset, dead)

    async def _dead_letter(self, poison: Sequence[Poison], dead: Counter[tuple[Stage, str]]) -> None:
        if not poison:
            return
        now = self._clock.now()
        letters = [DeadLetter.of(each, now) for each in poison]
        await self._retry("write dead letters", lambda: self._dead_letters.write(letters), Store.KAFKA)
        for each in poison:
            dead[each.stage, each.code] += 1
            self._log.warning(
                "event_dead_lettered",
                topic=each.topic,
                partition=each.partition,
                offset=each.record.offset,
                stage=each.stage.value,
                code=each.code,
            )


def statement_of(
    reader: RecordReader[E], record: Record, schemas: Mapping[int, WriterSchema], epoch: int
) -> Statement[E]:
    """Return what a record says of its key.

    Args:
        reader: Of what the topic carries.
        record: The record.
        schemas: That its value may name.
        epoch: Of the topic.

    Raises:
        UndecodableError: It cannot be read, or its key is not that of what it says.
        ContractError: It breaks the contract.
    """
    said = None if record.value is None else reader.validated(*reader.read(record, schemas))
    tenant, name = _checked_key(record.key, said)
    return Statement(tenant, name, said, pack_version(epoch, record.offset))


def _checked_key(key: bytes | None, said: Event | None) -> tuple[str, str]:
    """Return the tenant of a record's key, and what follows it.

    Raises:
        UndecodableError: It begins with no tenant, or is not that of what the record says.
    """
    if said is not None and key != said.log_key():
        raise UndecodableError("key_mismatch", "the record's key is not that of what it says")
    try:
        tenant, slash, name = (key or b"").decode().partition("/")
        if slash:
            return _TENANT.validate_python(tenant), name
    except ValueError:
        pass
    raise UndecodableError("key_mismatch", "the record's key does not begin with a tenant and a slash")
