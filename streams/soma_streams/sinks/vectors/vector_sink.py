"""Applies folded batches to the vector index: embed everything, then write guarded, then make it durable."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from soma_schemas import tracing
from soma_schemas.events import MemoryPatched, MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_schemas.tracing import SpanKind
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.points import Point
from soma_schemas.vectors.progress import HEADER_ID
from soma_streams.delivery.fold import edge_of, fold
from soma_streams.delivery.state import (
    Folded,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Settlement,
    Unapplied,
    Watermark,
)
from soma_streams.errors import PoisonError
from soma_streams.sinks.vectors.points import PointMaker, own_vector, poison_named
from soma_streams.sinks.vectors.standing import Standing
from soma_streams.sinks.vectors.states import id_of, state_of
from soma_streams.sinks.vectors.writer import PointWriter


class VectorSink:
    """The vector index.

    Args:
        writer: The engine.
        maker: Turns states into points.
        standing: Which index it is: a write goes to no other, and tells it how far it has come.
        group: The consumer group.
        offer_watermark: Hears how far the sink has come, after that is durable. It must not wait: this sink
            makes progress while PostgreSQL is away.
        limits: How large a memory may become.
    """

    def __init__(
        self,
        *,
        writer: PointWriter,
        maker: PointMaker,
        standing: Standing,
        group: str,
        offer_watermark: Callable[[Watermark], None],
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._writer = writer
        self._maker = maker
        self._standing = standing
        self._group = group
        self._offer_watermark = offer_watermark
        self._limits = limits
        self._prepared: tuple[Sequence[LoggedEvent], Folded, list[Point]] | None = None

    @property
    def group(self) -> str:
        """Return the consumer group."""
        return self._group

    async def check(self) -> None:
        """Return when the index is as declared.

        Raises:
            MismatchError: It is not.
        """
        await self._writer.check()

    async def write(
        self, events: Sequence[LoggedEvent], unapplied: Sequence[Unapplied], watermark: Watermark
    ) -> Sequence[Settlement]:
        """Write a batch and how far it goes, make both durable, and tell the watermark. Safe to repeat.

        Poison is found before anything is written. An outage can leave a part of the batch written: writing
        it again completes it.

        Returns:
            What became of the events, in their order.

        Raises:
            PoisonError: A state can never be indexed; nothing was written, unless the engine itself refused.
            IndexLostError: It is not the index that this worker began on: more than this batch is missing.
        """
        del unapplied  # they have no place among vectors
        with poison_named():
            folded, points = await self._prepare(events)
            with tracing.part("write points", SpanKind.CLIENT, tracing.QDRANT):
                kept = await self._writer.write([*points, self._standing.point(watermark)])
        with tracing.part("flush points", SpanKind.CLIENT, tracing.QDRANT):
            await self._writer.flush()
        self._prepared = None
        self._offer_watermark(watermark)
        refused = frozenset(state.name for state in folded.states if id_of(state.name) in kept)
        return _after_guard(folded.settlements, refused) if refused else folded.settlements

    async def _prepare(self, events: Sequence[LoggedEvent]) -> tuple[Folded, list[Point]]:
        """Return what a batch makes of the index; the same while an outage has it written again and again.

        Otherwise every try would pay the embedder for the whole batch, and count as repeated what an earlier
        one had written of it.
        """
        if self._prepared is None or self._prepared[0] is not events:
            with tracing.part("read points", SpanKind.CLIENT, tracing.QDRANT):
                found = await self._read(events)
            folded = fold(events, found, self._limits)
            _require_sizes(folded, self._maker.collection)
            with tracing.part("embed"):
                points = await self._maker.points(folded.states, _moments_of_end(folded))
            self._prepared = (events, folded, points)
        return self._prepared[1:]

    async def _read(self, events: Sequence[LoggedEvent]) -> Mapping[MemoryName, MemoryState]:
        """Return what the index has of the memories that these events are about, tombstones included."""
        found = await self._writer.read({id_of(event.name) for event in events} | {HEADER_ID})
        self._standing.check(found)
        states = [state_of(payload) for place, payload in found.items() if place != HEADER_ID]
        return {state.name: state for state in states}


def _after_guard(settlements: Sequence[Settlement], refused: frozenset[MemoryName]) -> Sequence[Settlement]:
    """Return what became of events once the engine has refused memories because it has newer ones."""
    return [
        replace(each, outcome=Outcome.SUPERSEDED, reason=SupersededReason.OLDER)
        if each.outcome is Outcome.APPLIED
        and each.logged.name in refused
        and edge_of(each.logged.event) is None
        else each
        for each in settlements
    ]


def _require_sizes(folded: Folded, collection: Collection) -> None:
    """Find embeddings of a wrong size event by event.

    Among the folded states alone, one that a later event of its batch replaces would pass, and what is poison
    would depend on where batches end.
    """
    for each in folded.settlements:
        event = each.logged.event
        if each.outcome is Outcome.APPLIED and isinstance(event, MemoryStored | MemoryPatched):
            with _blamed(each.logged.name):
                own_vector(event, collection)


def _moments_of_end(folded: Folded) -> dict[MemoryName, datetime]:
    """Return when the log received the event that ended each memory."""
    ended = {state.name: state.version for state in folded.states if state.content is None}
    return {
        logged.name: logged.logged_at
        for logged in (settlement.logged for settlement in folded.settlements)
        if ended.get(logged.name) == logged.version
    }


@contextmanager
def _blamed(memory: MemoryName) -> Iterator[None]:
    """Say whose fault poison is, so that nobody has to search the batch for it."""
    try:
        yield
    except PoisonError as error:
        error.memory = memory
        raise
