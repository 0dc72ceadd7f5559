"""Bring every event of a batch to its final outcome: applied, superseded, or in the dead-letter topic."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from soma_schemas import tracing
from soma_schemas.clock import Clock
from soma_schemas.dead_letters import Stage
from soma_schemas.errors import SomaError
from soma_schemas.outcomes import Outcome
from soma_streams.delivery.dead_letters import DeadLetter, DeadLetterWriter
from soma_streams.delivery.decode import Decoded, Decoder, Item, Poison, schema_ids
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.first_place import is_replay
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.native import NativeEvent
from soma_streams.delivery.retry import Retry, Store
from soma_streams.delivery.sealed_events import SealedEvents, has_sealed
from soma_streams.delivery.state import (
    DeadLettered,
    DecodedBy,
    Erased,
    LoggedEvent,
    Settlement,
    Unapplied,
    Watermark,
)
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.transport.records import RecordBatch


class Schemas(Protocol):
    """Where writer schemas come from."""

    async def fetch(self, ids: set[int]) -> Mapping[int, WriterSchema]:
        """Return the schema of each id that is known."""
        ...


class Sink(Protocol):
    """A store behind the log."""

    @property
    def group(self) -> str:
        """Return its consumer group."""
        ...

    async def check(self) -> None:
        """Return when the store is as declared, so that a refusal can only be an event's fault.

        Raises:
            MismatchError: It is not.
        """
        ...

    async def write(
        self, events: Sequence[LoggedEvent], unapplied: Sequence[Unapplied], watermark: Watermark
    ) -> Sequence[Settlement]:
        """Make a batch durable, with its dead letters and its watermark. Safe to repeat.

        Args:
            events: In arrival order.
            unapplied: The rest of the batch.
            watermark: What is settled with it.

        Returns:
            What became of the events, in their order.

        Raises:
            PoisonError: One of the events can never be applied; like any poison, it may name its memory.
        """
        ...


@dataclass(frozen=True, slots=True)
class Settled:
    """Proof that every event below an offset has its final outcome. Made only by `Settler.settle`.

    Attributes:
        decoded: How many events were read in which way.
        replayed: Of the outcomes those of dead letters that were published again.
        dead_letters: How many events failed where, with which code.
        decode_seconds: How long decoding took.
        write_seconds: In what time the store took everything, failed tries and waits not counted.
    """

    partition: int
    next_offset: int
    outcomes: Mapping[Outcome, int]
    decoded: Mapping[DecodedBy, int] = field(default_factory=dict)
    replayed: Mapping[Outcome, int] = field(default_factory=dict)
    dead_letters: Mapping[tuple[Stage, str], int] = field(default_factory=dict)
    decode_seconds: float = 0.0
    write_seconds: float = 0.0


@dataclass(slots=True)
class _Work:
    """A batch, and what is noted while it is settled."""

    batch: RecordBatch
    has_replays: bool = False
    replayed: Counter[Outcome] = field(default_factory=Counter)
    dead_letters: Counter[tuple[Stage, str]] = field(default_factory=Counter)
    write_seconds: float = 0.0


_Item = LoggedEvent | DeadLettered | Erased

# Each is one more try of the whole batch; where so many are poison, halving is cheaper.
_MEMORIES_APART = 8


class Settler:
    """Settles one batch at a time for one sink.

    Args:
        sink: Where the events are applied.
        decoder: Turns records into events.
        sealed: Opens what is encrypted.
        schemas: Where writer schemas come from.
        dead_letters: Where poison goes.
        retry: Waits out what passes.
        clock: Tells when an event failed.
        flood: Stops a flood of dead letters.
        epoch: Of the topic as it is now.
    """

    def __init__(
        self,
        *,
        sink: Sink,
        decoder: Decoder,
        sealed: SealedEvents,
        schemas: Schemas,
        dead_letters: DeadLetterWriter,
        retry: Retry,
        clock: Clock,
        flood: FloodGuard,
        epoch: int,
    ) -> None:
        self._sink = sink
        self._decoder = decoder
        self._opens = sealed
        self._schemas = schemas
        self._dead_letters = dead_letters
        self._retry = retry
        self._clock = clock
        self._flood = flood
        self._epoch = epoch
        self._log = structlog.get_logger("soma_streams.delivery.settle").bind(group=sink.group)

    async def settle(self, batch: RecordBatch) -> Settled:
        """Return when every event of the batch has its final outcome, however long the stores are away.

        Raises:
            Exception: Something systemic; nothing of the batch may be acknowledged.
        """
        decoded, decode_seconds = await self._decoded(batch)
        by_reference = len(decoded.items) - decoded.native
        # What was read natively is no replay.
        work = _Work(batch, has_replays=by_reference > 0 and any(map(_is_replayed, decoded.items)))
        items = await self._without_poison(work, decoded)
        outcomes = dict.fromkeys(Outcome, 0)
        for outcome in await self._write(work, items, batch.next_offset):
            outcomes[outcome] += 1
        return Settled(
            batch.partition,
            batch.next_offset,
            outcomes,
            {DecodedBy.NATIVE: decoded.native, DecodedBy.REFERENCE: by_reference},
            work.replayed,
            work.dead_letters,
            decode_seconds,
            work.write_seconds,
        )

    async def _schemas_of(self, batch: RecordBatch) -> Mapping[int, WriterSchema]:
        ids = schema_ids(batch.records)
        return await self._retry("read schemas", lambda: self._schemas.fetch(ids), Store.REGISTRY)

    async def _decoded(
        self, batch: RecordBatch, *, by_reference: bool = False
    ) -> tuple[Decoded[Item], float]:
        """Return what a batch holds, and how long it took to decode that, waits for others not counted."""
        schemas = await self._schemas_of(batch)
        opened = None
        if has_sealed(schemas):
            with tracing.part("open sealed events"):
                opened = await self._retry(
                    "read data keys", lambda: self._opens.open(batch, schemas), Store.POSTGRES
                )
            batch, schemas = opened.batch, await self._schemas_of(opened.batch)
        began = self._clock.monotonic()
        with tracing.part("decode"):
            legible = await self._decoder.decode_in_turns(batch, schemas, by_reference=by_reference)
        seconds = self._clock.monotonic() - began
        return (legible if opened is None else opened.whole(legible)), seconds

    async def _without_poison(self, work: _Work, decoded: Decoded[Item]) -> list[_Item]:
        """Return the events, and of poison what is known once it is in the dead-letter topic."""
        for item in decoded.items:
            self._flood.observe(dead_lettered=isinstance(item, Poison))
        buried = {dead.position.offset: dead for dead in await self._dead_letter(work, decoded.poison)}
        return [buried[item.record.offset] if isinstance(item, Poison) else item for item in decoded.items]

    async def _write(
        self,
        work: _Work,
        items: Sequence[_Item],
        next_offset: int,
        *,
        apart: int = 0,
        checked: bool = False,
    ) -> list[Outcome]:
        events = [item for item in items if isinstance(item, LoggedEvent)]
        unapplied = [item for item in items if not isinstance(item, LoggedEvent)]
        batch = work.batch
        watermark = Watermark(self._sink.group, batch.topic, batch.partition, self._epoch, next_offset)

        async def write() -> Sequence[Settlement]:
            began = self._clock.monotonic()
            settlements = await self._sink.write(events, unapplied, watermark)
            work.write_seconds += self._clock.monotonic() - began
            return settlements

        try:
            settlements = await self._retry("write", write)
        except Exception as error:
            if classify(error) is not FailureClass.POISON or not events:
                if not isinstance(error, SomaError):
                    await self._sink.check()  # a store that somebody has changed is told in words
                raise
            if any(isinstance(each, NativeEvent) for each in events):
                return await self._write(work, await self._read_again(work, items), next_offset, apart=apart)
            suspects = _of_memory(items, getattr(error, "memory", None))
            if 0 < len(suspects) < len(items) and apart < _MEMORIES_APART:
                return await self._set_apart(work, items, suspects, next_offset, apart)
            return await self._isolate(work, items, next_offset, error, checked=checked)
        if work.has_replays:
            work.replayed.update(each.outcome for each in settlements if each.logged.is_replayed)
            work.replayed.update(Outcome.SUPERSEDED for each in unapplied if _is_replayed(each))
        return [each.outcome for each in settlements] + [_outcome(each) for each in unapplied]

    async def _read_again(self, work: _Work, items: Sequence[_Item]) -> list[_Item]:
        """Return the items with those read by the reference that were not: it alone says what is poison."""
        batch = work.batch
        native = {item.position.offset for item in items if isinstance(item, NativeEvent)}
        records = tuple(record for record in batch.records if record.offset in native)
        again = replace(batch, records=records)
        self._log.warning("native_events_refused", partition=batch.partition, events=len(records))
        decoded, _ = await self._decoded(again, by_reference=True)
        anew = {item.position.offset: item for item in await self._without_poison(work, decoded)}
        return [anew.get(item.position.offset, item) for item in items]

    async def _set_apart(
        self,
        work: _Work,
        items: Sequence[_Item],
        suspects: Sequence[LoggedEvent],
        next_offset: int,
        apart: int,
    ) -> list[Outcome]:
        """Write everything else at once, then the events of the one memory among which the culprit is.

        The order between memories means nothing, but the watermark must not pass what is still to be written.
        """
        boundary = min(suspects[0].position.offset, next_offset)
        held = {suspect.position.offset for suspect in suspects}
        others = [item for item in items if item.position.offset not in held]
        outcomes = await self._write(work, others, boundary, apart=apart + 1)
        return outcomes + await self._write(work, suspects, next_offset)

    async def _isolate(
        self,
        work: _Work,
        items: Sequence[_Item],
        next_offset: int,
        error: Exception,
        *,
        checked: bool,
    ) -> list[Outcome]:
        """Halve until the culprit stands alone, then dead-letter it; everything else is written, in order.

        A store that somebody has changed refuses good events too. So it is checked before one is blamed, and
        the event is tried once more: what refused it may have been mended while the check waited.
        """
        if len(items) > 1:
            middle = len(items) // 2
            boundary = min(items[middle].position.offset, next_offset)
            first = await self._write(work, items[:middle], boundary)
            return first + await self._write(work, items[middle:], next_offset)
        culprit = items[0]
        if not isinstance(culprit, LoggedEvent):
            raise error
        if not checked:
            await self._retry("check the store", self._sink.check)
            return await self._write(work, items, next_offset, checked=True)
        self._flood.observe(dead_lettered=True)
        batch = work.batch
        record = next(record for record in batch.records if record.offset == culprit.position.offset)
        poison = Poison(
            topic=batch.topic,
            partition=batch.partition,
            record=record,
            stage=Stage.WRITE,
            code=write_code(error),
            message=write_message(error),
            error_class=type(error).__name__,
        )
        return await self._write(work, await self._dead_letter(work, [poison]), next_offset)

    async def _dead_letter(self, work: _Work, poison: Sequence[Poison]) -> list[DeadLettered]:
        if not poison:
            return []
        now = self._clock.now()
        letters = [DeadLetter.of(each, now) for each in poison]
        with tracing.part("write dead letters"):
            await self._retry("write dead letters", lambda: self._dead_letters.write(letters), Store.KAFKA)
        work.dead_letters.update((each.stage, each.code) for each in poison)
        work.replayed.update(Outcome.DEAD_LETTERED for each in poison if is_replay(each.record.headers))
        for each in poison:
            self._log.warning(
                "event_dead_lettered",
                topic=each.topic,
                partition=each.partition,
                offset=each.record.offset,
                stage=each.stage.value,
                code=each.code,
            )
        return [self._decoder.dead_lettered(each) for each in poison]


def _is_replayed(item: object) -> bool:
    return isinstance(item, LoggedEvent | Erased) and item.is_replayed


def _outcome(item: Unapplied) -> Outcome:
    return Outcome.SUPERSEDED if isinstance(item, Erased) else Outcome.DEAD_LETTERED


def _of_memory(items: Sequence[_Item], memory: object) -> list[LoggedEvent]:
    if memory is None:
        return []
    return [item for item in items if isinstance(item, LoggedEvent) and item.name == memory]


def write_code(error: Exception) -> str:
    """Return a stable code for a store's refusal."""
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return f"sqlstate_{state}"
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return f"http_{status}"
    return error.code if isinstance(error, SomaError) else "refused"


def write_message(error: Exception) -> str:
    """Return a store's refusal in words, without the values that it quotes."""
    diagnostics = getattr(error, "diag", None)
    constraint = getattr(diagnostics, "constraint_name", None)
    column = getattr(diagnostics, "column_name", None)
    place = f" ({constraint or column})" if constraint or column else ""
    return f"the store refuses the event with {write_code(error)}{place}"
