"""Applies folded batches to the vector index: embed everything, then write guarded, then make it durable."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from soma_schemas.clock import yield_now
from soma_schemas.errors import MismatchError
from soma_schemas.events import MemoryPatched, MemoryStored
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import REINDEX_REMEDY, Collection
from soma_schemas.vectors.embedders import Embedder
from soma_schemas.vectors.errors import EmbeddingRefusedError, IndexRefusedError, UnfitVectorError
from soma_schemas.vectors.points import Point, SparseVector, unit_vector
from soma_schemas.vectors.text import indexed_text
from soma_streams.delivery.state import (
    Content,
    DeadLettered,
    Folded,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Outcome,
    Refused,
    Watermark,
)
from soma_streams.errors import PoisonError
from soma_streams.sinks.vectors.errors import EmbeddingDimensionsError, UnembeddableError, UnindexableError
from soma_streams.sinks.vectors.states import id_of, living_point, state_of, tombstone
from soma_streams.sinks.vectors.writer import PointWriter

# Between two slices the event loop serves others; where texts travel, it does so meanwhile.
_TEXTS_PER_SLICE = 64


class _Vectors(NamedTuple):
    dense: Sequence[float] | None
    sparse: SparseVector | None


class VectorSink:
    """The vector index.

    Args:
        writer: The engine.
        embedder: Turns texts into vectors.
        bm25: Turns texts into keywords.
        collection: What the engine's points have in common.
        group: The consumer group.
        offer_watermark: Hears how far the sink has come, after that is durable. It must not wait: this sink
            makes progress while PostgreSQL is away.

    Raises:
        MismatchError: The embedder is not the collection's.
    """

    def __init__(
        self,
        *,
        writer: PointWriter,
        embedder: Embedder,
        bm25: Bm25Encoder,
        collection: Collection,
        group: str,
        offer_watermark: Callable[[Watermark], None],
    ) -> None:
        if (embedder.name, embedder.dimensions) != (collection.model, collection.dimensions):
            raise MismatchError(
                f"collection `{collection.alias}` holds vectors of model `{collection.model}` with "
                f"{collection.dimensions} dimensions, the embedder is `{embedder.name}` with "
                f"{embedder.dimensions}",
                remedy=REINDEX_REMEDY,
            )
        self._writer = writer
        self._embedder = embedder
        self._bm25 = bm25
        self._collection = collection
        self._group = group
        self._offer_watermark = offer_watermark
        self._prepared: tuple[Folded, list[Point]] | None = None

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

    async def current(self, events: Sequence[LoggedEvent]) -> Mapping[MemoryName, MemoryState]:
        """Return what the index has of the memories that these events are about, tombstones included."""
        payloads = await self._writer.read({id_of(event.name) for event in events})
        states = map(state_of, payloads.values())
        return {state.name: state for state in states}

    async def write(self, folded: Folded, dead: Sequence[DeadLettered], watermark: Watermark) -> Refused:
        """Write the states of a batch, make them durable, and tell the watermark. Safe to repeat.

        Poison is found before anything is written. An outage can leave a part of the batch written: writing
        it again completes it.

        Returns:
            The memories whose stored version is newer.

        Raises:
            PoisonError: A state can never be indexed; nothing was written, unless the engine itself refused.
        """
        del dead  # they have no place among vectors
        refused: Refused = frozenset()
        if folded.states:
            with _poison_named():
                kept = await self._writer.write(await self._prepare(folded))
            await self._writer.flush()
            self._prepared = None
            if kept:
                refused = frozenset(state.name for state in folded.states if id_of(state.name) in kept)
        self._offer_watermark(watermark)
        return refused

    async def _prepare(self, folded: Folded) -> list[Point]:
        """Return the points of a batch; the same ones while an outage has it written again and again.

        Otherwise every try would pay the embedder for the whole batch.
        """
        if self._prepared is None or self._prepared[0] is not folded:
            self._prepared = (folded, await self._points(folded))
        return self._prepared[1]

    async def _points(self, folded: Folded) -> list[Point]:
        ended = _moments_of_end(folded)
        living = [(state, content) for state in folded.states if (content := state.content) is not None]
        points = [tombstone(state, ended[state.name]) for state in folded.states if state.content is None]
        _require_sizes(folded, self._collection)
        for start in range(0, len(living), _TEXTS_PER_SLICE):
            some = living[start : start + _TEXTS_PER_SLICE]
            vectors = await self._embedded([content for _, content in some])
            points += [living_point(*each, *both) for each, both in zip(some, vectors, strict=True)]
        return points

    async def _embedded(self, contents: Sequence[Content]) -> list[_Vectors]:
        if self._embedder.in_process:
            await yield_now()
            return self._vectors(contents)
        return await asyncio.to_thread(self._vectors, contents)

    def _vectors(self, contents: Sequence[Content]) -> list[_Vectors]:
        texts = [indexed_text(each.text, each.occurred_at, each.key, each.tags) for each in contents]
        own = [own_vector(each, self._collection) for each in contents]
        made = iter(
            self._embedder.embed_documents(
                [text for text, given in zip(texts, own, strict=True) if not given]
            )
        )
        return [
            _Vectors(unit_vector(given or next(made)), self._bm25.document(text))
            for text, given in zip(texts, own, strict=True)
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


def own_vector(
    content: Content | MemoryStored | MemoryPatched, collection: Collection
) -> Sequence[float] | None:
    """Return the vector that came with the memory, or None when its text is to be embedded.

    The rule: a vector of the collection's model is taken as it is. One of another model cannot be compared
    with the rest, so the text is embedded; the vector stays with the memory for the day on which the index is
    rebuilt for that model. One that names the model and has not its size is a mistake of its producer.

    Raises:
        EmbeddingDimensionsError: The vector is of the collection's model but not of its size.
    """
    if content.embedding is None or content.embedding_model != collection.model:
        return None
    if len(content.embedding) != collection.dimensions:
        raise EmbeddingDimensionsError(
            f"the embedding has {len(content.embedding)} numbers, model `{collection.model}` has "
            f"{collection.dimensions}"
        )
    return content.embedding


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


@contextmanager
def _poison_named() -> Iterator[None]:
    """Turn what is the event's own fault into poison; everything else passes as it is."""
    try:
        yield
    except EmbeddingRefusedError as error:
        raise UnembeddableError(str(error)) from error
    except (UnfitVectorError, IndexRefusedError) as error:
        raise UnindexableError(str(error)) from error
