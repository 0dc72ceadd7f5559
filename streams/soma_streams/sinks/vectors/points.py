"""Folded states as points: which vectors they get, and from whom."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from qdrant_edge import SparseVector

from soma_schemas.clock import yield_now
from soma_schemas.errors import MismatchError
from soma_schemas.events import MemoryPatched, MemoryStored
from soma_schemas.memories import Content
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import MODEL_REMEDY, Collection
from soma_schemas.vectors.embedders import Embedder
from soma_schemas.vectors.index_errors import EmbeddingRefusedError, IndexRefusedError, UnfitVectorError
from soma_schemas.vectors.points import Point, unit_vector
from soma_schemas.vectors.text import indexed_text
from soma_streams.delivery.state import MemoryName, MemoryState
from soma_streams.sinks.vectors.states import living_point, tombstone
from soma_streams.sinks.vectors.vector_sink_errors import (
    EmbeddingDimensionsError,
    UnembeddableError,
    UnindexableError,
)

# Between two slices the event loop serves others; where texts travel, it does so meanwhile.
_TEXTS_PER_SLICE = 64


class _Vectors(NamedTuple):
    dense: Sequence[float] | None
    sparse: SparseVector | None


class PointMaker:
    """Makes the points of one collection.

    Args:
        embedder: Turns texts into vectors.
        bm25: Turns texts into keywords.
        collection: What the points have in common.

    Raises:
        MismatchError: The embedder is not the collection's.
    """

    def __init__(self, embedder: Embedder, bm25: Bm25Encoder, collection: Collection) -> None:
        if (embedder.name, embedder.dimensions) != (collection.model, collection.dimensions):
            raise MismatchError(
                f"collection `{collection.alias}` holds vectors of model `{collection.model}` with "
                f"{collection.dimensions} dimensions, the embedder is `{embedder.name}` with "
                f"{embedder.dimensions}",
                remedy=MODEL_REMEDY,
            )
        self._embedder = embedder
        self._bm25 = bm25
        self._collection = collection

    @property
    def collection(self) -> Collection:
        """What the points have in common."""
        return self._collection

    async def points(
        self, states: Sequence[MemoryState], ended: Mapping[MemoryName, datetime]
    ) -> list[Point]:
        """Return the points of states.

        Args:
            states: One per memory.
            ended: When the log received the end of each that is a tombstone.

        Raises:
            EmbeddingDimensionsError: A state's own vector is of the collection's model but not of its size.
            UnfitVectorError: A vector is not finite.
            SomaError: As the embedder raises it.
        """
        living = [(state, content) for state in states if (content := state.content) is not None]
        points = [tombstone(state, ended[state.name]) for state in states if state.content is None]
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


@contextmanager
def poison_named() -> Iterator[None]:
    """Turn what is the event's own fault into poison; everything else passes as it is."""
    try:
        yield
    except EmbeddingRefusedError as error:
        raise UnembeddableError(str(error)) from error
    except (UnfitVectorError, IndexRefusedError) as error:
        raise UnindexableError(str(error)) from error
