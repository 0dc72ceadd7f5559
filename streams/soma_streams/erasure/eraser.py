"""The eraser: takes each erasure from one state to the next, and can be stopped and begun again anywhere.

A step does its work first and notes the next state last; every step can be done twice. Events that it
publishes have ids made of the request and the memory, so that publishing them again changes nothing.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import structlog

from soma_schemas.clock import Clock
from soma_schemas.erasure_receipts import ReceiptSigner, SigningKeyError
from soma_schemas.events import ErasureScope, MemoryDeleted, MemoryUnlinked
from soma_schemas.events import Record as Event
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import DEAD_LETTERS, MEMORY_ERASURES, MEMORY_EVENTS, Topic
from soma_schemas.versions import Position
from soma_streams.delivery.retry import Retry
from soma_streams.erasure.dead_letter_contents import holds
from soma_streams.erasure.erasure_metrics import ErasureMetrics
from soma_streams.erasure.erasure_sink import LogEnds
from soma_streams.erasure.erasure_state import Edge, Erasure, ErasureState, Target, WaitsFor
from soma_streams.erasure.erasure_store import ErasureStore
from soma_streams.erasure.receipts import Copies, completed_event, receipt_of, receipt_text
from soma_streams.replay.originals import Gone
from soma_streams.replay.stored_dead_letters import StoredDeadLetter
from soma_streams.transport.records import Record

_SINKS = (SinkGroup.POSTGRES, SinkGroup.VECTORS)
_MEMORIES_AT_ONCE = 500
_LETTERS_AT_ONCE = 200
_LOOK_AGAIN_SECONDS = 0.25
_WAIT_AT_MOST_SECONDS = 30.0
_ROUND_SECONDS = 1.0

_log = structlog.get_logger("soma_streams.erasure.eraser")

# Publishes records of a topic and returns where they lie, once all replicas have them.
Publish = Callable[[Sequence[Event], Topic], Awaitable[Sequence[Position]]]


class DeadLetterReader(Protocol):
    """The dead-letter topic; `soma_streams.replay.originals.Originals` is one."""

    async def read(self, dead_letters: Iterable[StoredDeadLetter]) -> Mapping[UUID, Record | Gone]:
        """Return the record of every dead letter, or why it is gone."""
        ...

    async def ends(self) -> Mapping[int, int]:
        """Return where each partition ends."""
        ...


class Eraser:
    """Carries erasures out, one step at a time.

    Args:
        store: The tables.
        publish: Writes to the log.
        signer: Signs receipts; without one no erasure begins.
        letters: Reads dead letters.
        copies: Tells until when the brokers keep what they have now.
        log_ends: Tells where the log of events ends.
        topics: Names and epoch.
        clock: Time.
        metrics: Of the eraser.
    """

    def __init__(
        self,
        *,
        store: ErasureStore,
        publish: Publish,
        signer: ReceiptSigner | None,
        letters: DeadLetterReader,
        copies: Copies,
        log_ends: LogEnds,
        topics: TopicSettings,
        clock: Clock,
        metrics: ErasureMetrics,
    ) -> None:
        self._store = store
        self._publish = publish
        self._signer = signer
        self._letters = letters
        self._copies = copies
        self._log_ends = log_ends
        self._topics = topics
        self._clock = clock
        self._metrics = metrics

    async def run(self, retry: Retry) -> None:
        """Carry out what is asked until cancelled, and leave it to another process while that does.

        Args:
            retry: Waits out what is away.

        Raises:
            Exception: What made going on impossible; whoever begins again goes on where this one was.
        """
        while True:
            await retry("erase", self._round_alone)
            await self._clock.sleep(_ROUND_SECONDS)

    async def _round_alone(self) -> None:
        async with self._store.alone() as alone:
            if alone:
                await self.round()
            else:
                await self._look()

    async def round(self) -> None:
        """Take every open erasure as far as it goes for now."""
        for erasure in await self._look():
            current: Erasure | None = erasure
            while current is not None and await self.step(current):
                current = await self._store.get(erasure)
        await self._look()

    async def _look(self) -> Sequence[Erasure]:
        """Return what is open, and tell how much that is."""
        found = await self._store.open()
        self._metrics.open.set(len(found))
        waited = (self._clock.now() - found[0].accepted_at).total_seconds() if found else 0.0
        self._metrics.oldest.set(max(0.0, waited))
        return found

    async def step(self, erasure: Erasure) -> bool:
        """Do what comes next for an erasure, and say whether it has another state now."""
        match erasure.state:
            case ErasureState.ACCEPTED:
                waits_for = await self._begin(erasure)
            case ErasureState.DELETING:
                waits_for = await self._delete(erasure)
            case ErasureState.CLEARING:
                waits_for = await self._clear(erasure)
            case ErasureState.VERIFYING:
                waits_for = await self._verify(erasure)
            case ErasureState.SIGNED:
                await self._complete(erasure)
                return False
            case ErasureState.COMPLETED:
                return False
        if waits_for is not None:
            await self._store.wait_for(erasure, waits_for)
            return False
        _log.info("erasure_went_on", request_id=str(erasure.request_id), from_state=erasure.state.value)
        return True

    async def _begin(self, erasure: Erasure) -> WaitsFor | None:
        """Wait for what the log held, and put dead letters out of reach before anything is deleted."""
        if self._signer is None and erasure.receipt is None:
            if erasure.waits_for != WaitsFor.SIGNING_KEY:
                missing = SigningKeyError("there is no key to sign receipts with: no erasure begins")
                _log.error("erasure_without_signing_key", reason=str(missing), remedy=missing.remedy)
            return WaitsFor.SIGNING_KEY
        if not await self._passed(MEMORY_EVENTS, _SINKS, erasure.before_offsets(self._topics.epoch)):
            return WaitsFor.SINKS
        if erasure.receipt is not None:
            # What it deleted then the log deletes again; the rest is looked for once that is done.
            if not await self._passed_in_time(await self._log_ends()):
                return WaitsFor.SINKS
            erasure = await self._store.recalled(erasure)
        # What the sinks gave up on until then is indexed.
        if not await self._passed(DEAD_LETTERS, (SinkGroup.DEAD_LETTERS,), await self._letters.ends()):
            return WaitsFor.DEAD_LETTERS
        await self._erase_letters(erasure)
        await self._store.advance(erasure, ErasureState.DELETING)
        return None

    async def _erase_letters(self, erasure: Erasure) -> None:
        after: UUID | None = None
        keys = await self._store.retired_keys(erasure)
        while page := await self._store.letters(erasure, after, _LETTERS_AT_ONCE):
            after = page[-1][0].id
            named = [letter.id for letter, is_named in page if is_named]
            others = [letter for letter, is_named in page if not is_named]
            if others and erasure.scope in (ErasureScope.SUBJECT, ErasureScope.NAMESPACE):
                records = await self._letters.read(others)
                named += [each.id for each in others if _holds(records[each.id], each, erasure, keys)]
            if named:
                await self._store.erase_letters(erasure, named)

    async def _delete(self, erasure: Erasure) -> WaitsFor | None:
        """Publish deletions until nothing lives that is older than the request, and both sinks know."""
        deleted = True
        while deleted:
            # Page by page, so that what is gone is not looked through for each; then from the beginning.
            deleted, after = False, None
            while living := await self._store.living(erasure, after, _MEMORIES_AT_ONCE):
                deleted, after = True, living[-1].memory_id
                if not await self._published([self._deleted(erasure, each) for each in living]):
                    return WaitsFor.SINKS
        while edges := await self._store.edges(erasure, _MEMORIES_AT_ONCE):
            if not await self._published([self._unlinked(erasure, each) for each in edges]):
                return WaitsFor.SINKS
        await self._store.advance(erasure, ErasureState.CLEARING)
        return None

    async def _clear(self, erasure: Erasure) -> WaitsFor | None:
        """Clear what is left, and destroy the keys once all that they encrypted is applied."""
        # One that is carried out again has destroyed its keys; those that there are now are for what is new.
        if erasure.receipt is None and await self._store.retire_keys(erasure):
            return WaitsFor.PUBLISHERS
        if await self._store.retired_keys(erasure) and not await self._passed_in_time(await self._log_ends()):
            return WaitsFor.SINKS
        await self._store.clear(erasure)
        return None

    async def _verify(self, erasure: Erasure) -> WaitsFor | None:
        """Look through both stores; what is found is deleted again, and what is clean is signed."""
        left = {table: rows for table, rows in (await self._store.left(erasure)).items() if rows}
        if left:
            _log.warning("erasure_left_something", request_id=str(erasure.request_id), tables=left)
            # Letters are taken in the step before.
            again = ErasureState.ACCEPTED if "dead_letters" in left else ErasureState.DELETING
            await self._store.advance(erasure, again)
            return None
        if await self._store.unlogged_keys(erasure):
            return WaitsFor.KEY_LOG
        if erasure.index_points is None:
            return WaitsFor.VECTOR_INDEX
        if erasure.index_points_left:
            # The index had another state than the table, for which a deletion under condition is void.
            await self._delete_everywhere(erasure)
            await self._store.look_again(erasure)
            return WaitsFor.VECTOR_INDEX
        if erasure.receipt is not None:
            await self._store.sign(erasure, erasure.receipt)
            return None
        if self._signer is None:
            return WaitsFor.SIGNING_KEY
        receipt = receipt_of(erasure, await self._copies(), self._clock.now())
        await self._store.sign(erasure, receipt_text(self._signer.sign(receipt)))
        return None

    async def _delete_everywhere(self, erasure: Erasure) -> None:
        after: UUID | None = None
        while page := await self._store.targets(erasure, after, _MEMORIES_AT_ONCE):
            after = page[-1].memory_id
            gone = [each for each in page if not each.lives_again]
            await self._published([self._deleted(erasure, each, whatever_its_version=True) for each in gone])

    async def _complete(self, erasure: Erasure) -> None:
        """Publish what was signed; the sink of memory.erasures completes the request."""
        completed = completed_event(erasure)
        await self._publish([completed], MEMORY_ERASURES)
        began = self._clock.monotonic()
        while self._clock.monotonic() - began < _WAIT_AT_MOST_SECONDS:
            current = await self._store.get(erasure)
            if current is None or current.state is ErasureState.COMPLETED:
                _log.info("erasure_completed", request_id=str(erasure.request_id), memories=erasure.memories)
                return
            await self._clock.sleep(_LOOK_AGAIN_SECONDS)

    async def _published(self, events: Sequence[Event]) -> bool:
        """Publish events, and say whether both sinks passed them in time."""
        positions = await self._publish(events, MEMORY_EVENTS)
        ends: dict[int, int] = {}
        for position in positions:
            ends[position.partition] = max(ends.get(position.partition, 0), position.offset + 1)
        return await self._passed_in_time(ends)

    async def _passed_in_time(self, ends: Mapping[int, int]) -> bool:
        """Say whether both sinks have passed places in the log, or do so soon."""
        began = self._clock.monotonic()
        while not await self._passed(MEMORY_EVENTS, _SINKS, ends):
            if self._clock.monotonic() - began > _WAIT_AT_MOST_SECONDS:
                return False
            await self._clock.sleep(_LOOK_AGAIN_SECONDS)
        return True

    async def _passed(self, topic: Topic, groups: Sequence[SinkGroup], ends: Mapping[int, int]) -> bool:
        found = await self._store.watermarks(groups, topic.full_name(self._topics), topic.epoch(self._topics))
        return all(
            found[group].get(partition, 0) >= end for group in groups for partition, end in ends.items()
        )

    def _deleted(
        self, erasure: Erasure, target: Target, *, whatever_its_version: bool = False
    ) -> MemoryDeleted:
        # Of this version alone: what is stored in between may be another memory; the next look decides.
        expected = None if whatever_its_version else target.version
        return MemoryDeleted.validated(
            {
                "event_id": erasure.event_id(target.memory_id, expected),
                "tenant": erasure.tenant,
                "occurred_at": erasure.accepted_at,
                "actor": erasure.deleter,
                "namespace": target.namespace,
                "memory_id": target.memory_id,
                "expected_version": expected,
            }
        )

    def _unlinked(self, erasure: Erasure, edge: Edge) -> MemoryUnlinked:
        return MemoryUnlinked.validated(
            {
                "event_id": erasure.event_id(edge.from_memory_id, edge.link_type, edge.to_memory_id),
                "tenant": erasure.tenant,
                "occurred_at": erasure.accepted_at,
                "actor": erasure.deleter,
                "namespace": edge.namespace,
                "memory_id": edge.from_memory_id,
                "to_memory_id": edge.to_memory_id,
                "link_type": edge.link_type,
            }
        )


def _holds(record: Record | Gone, letter: StoredDeadLetter, erasure: Erasure, keys: Sequence[UUID]) -> bool:
    if isinstance(record, Gone) or erasure.selector is None:
        return False
    value = record.value if isinstance(record.value, bytes) else None
    # What is sealed names its key, and nobody.
    is_sealed = value is not None and any(str(key).encode() in value for key in keys)
    return is_sealed or holds(value, letter.stage, erasure.scope, erasure.selector)
