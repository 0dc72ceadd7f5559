"""The index that is searched, and how a process goes over to another one that takes its place."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import structlog

from soma_api.index_completeness import IndexState, PointsById
from soma_api.queries.vectors.hybrid_search import SearchAnswer, SearchRequest
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError, told

_LOOK_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Searcher(Protocol):
    """What the API needs of the vector index; `soma_api.queries.vectors.hybrid_search.Search` is one."""

    async def __call__(self, request: SearchRequest) -> SearchAnswer:
        """Return the best hits, best first.

        Raises:
            UnfitVectorError: The request's own vector does not fit the index.
            EmbeddingRefusedError: The embedder does not take the text.
            SearchTooCostlyError: It compares too many memories by too many conditions.
            SomaError: The index or the embedder does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class SearchedIndex:
    """One index.

    Attributes:
        name: Tells it apart from others.
        search: Asks it, with the model that it was built with.
        points: Its points by id.
    """

    name: str
    search: Searcher
    points: PointsById


Find = Callable[[SearchedIndex | None], Awaitable[SearchedIndex]]
Judge = Callable[[PointsById], Awaitable[IndexState]]


class FollowedIndex:
    """Searches the index that is in use.

    A question goes to one index with the model of that index, whatever is switched meanwhile. A process goes
    over to another index once that has all that was settled, or when its own is gone or has less itself: so
    what a caller has seen or waited for stays visible.

    Args:
        find: Returns the index that is to be used by now, the given one if it still is.
        clock: Paces the looking.
    """

    def __init__(self, find: Find, clock: Clock) -> None:
        self._find = find
        self._clock = clock
        self._index: SearchedIndex | None = None
        self._refused: str | None = None

    async def __call__(self, request: SearchRequest) -> SearchAnswer:
        """Return the best hits, best first; errors as of the index."""
        index = await self._present()
        try:
            return await index.search(request)
        except Exception:
            if (instead := await self._instead_of(index)) is None:
                raise
            return await instead.search(request)

    async def read(self, ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return the payloads of the points that are there."""
        index = await self._present()
        try:
            return await index.points.read(ids)
        except Exception:
            if (instead := await self._instead_of(index)) is None:
                raise
            return await instead.points.read(ids)

    async def follow(self, judge: Judge) -> None:
        """Look for another index to go over to, until cancelled.

        Args:
            judge: Says how complete an index is.
        """
        while True:
            try:
                await self.look(judge)
                self._refused = None
            except (SomaError, ConnectionError, TimeoutError) as error:
                # Said once: it can last for as long as the model is not known here.
                if self._refused != type(error).__name__:
                    self._refused = type(error).__name__
                    log.warning("index_not_followed", error=self._refused, reason=told(error))
            await self._clock.sleep(_LOOK_SECONDS)

    async def look(self, judge: Judge) -> None:
        """Go over to another index if there is one, and it has what this one has.

        Raises:
            SomaError: An index does not answer, or is of a model that this process does not know.
        """
        present = await self._present()
        found = await self._find(present)
        if found.name == present.name:
            return
        if (await judge(found.points)).complete or not (await judge(present.points)).complete:
            self._go_over(present, found)

    async def _present(self) -> SearchedIndex:
        if self._index is None:
            self._index = await self._find(None)
        return self._index

    async def _instead_of(self, index: SearchedIndex) -> SearchedIndex | None:
        """Return the index that has taken the place of one that failed; None if none has."""
        if self._index is not None and self._index.name != index.name:
            return self._index
        try:
            found = await self._find(index)
        except (SomaError, ConnectionError, TimeoutError):
            return None
        if found.name == index.name:
            return None
        self._go_over(index, found)
        return found

    def _go_over(self, former: SearchedIndex, found: SearchedIndex) -> None:
        log.info("index_followed", former=former.name, index=found.name)
        self._index = found
