"""Looks through the vector index for what an erasure has deleted; runs where the index is."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog

from soma_schemas.clock import Clock
from soma_schemas.vectors.payload import LABELS, memory_of
from soma_streams.delivery.retry import Retry, Store
from soma_streams.delivery.state import MemoryName
from soma_streams.erasure.erasure_state import Erasure, ErasureState
from soma_streams.erasure.erasure_store import ErasureStore
from soma_streams.sinks.vectors.states import id_of
from soma_streams.sinks.vectors.writer import PointWriter

_POINTS_AT_ONCE = 500
_ROUND_SECONDS = 1.0

_log = structlog.get_logger("soma_streams.erasure.index_witness")


Beside = Callable[[], Awaitable[Sequence[str]]]


async def nothing_beside() -> Sequence[str]:
    """Return no names: there is one index alone."""
    return ()


class IndexWitness:
    """Says of the memories of an erasure whether the index holds anything of them.

    Args:
        store: Where erasures wait for its word.
        writer: The engine.
        clock: Paces it.
        beside: Returns the names of other indexes that are kept. While there are any, nothing is said: they
            may still hold what is erased.
    """

    def __init__(
        self,
        store: ErasureStore,
        writer: PointWriter,
        clock: Clock,
        beside: Beside = nothing_beside,
    ) -> None:
        self._beside = beside
        self._store = store
        self._writer = writer
        self._clock = clock

    async def run(self, retry: Retry) -> None:
        """Look whenever an erasure asks, until cancelled.

        Args:
            retry: Waits out an outage of either store.
        """
        while True:
            await retry("look for erasures", self.round, Store.POSTGRES)
            await self._clock.sleep(_ROUND_SECONDS)

    async def round(self) -> None:
        """Look for every erasure that waits for it."""
        for erasure in await self._store.open():
            if erasure.state is ErasureState.VERIFYING and erasure.index_points is None:
                if kept := await self._beside():
                    _log.warning("erasure_waits_for_indexes", request_id=str(erasure.request_id), kept=kept)
                    continue
                points, left = await self._look(erasure)
                _log.info(
                    "index_looked_through", request_id=str(erasure.request_id), points=points, left=left
                )
                await self._store.looked(erasure, points, left)

    async def _look(self, erasure: Erasure) -> tuple[int, int]:
        """Return how many points it looked at, and how many of them hold content."""
        after: UUID | None = None
        points = left = 0
        while page := await self._store.targets(erasure, after, _POINTS_AT_ONCE):
            after = page[-1].memory_id
            held = await self._writer.read(
                [id_of(MemoryName(erasure.tenant, target.memory_id)) for target in page]
            )
            again = {id_of(MemoryName(erasure.tenant, each.memory_id)) for each in page if each.lives_again}
            points += len(page)
            left += sum(
                point not in again and (LABELS in payload or memory_of(payload).content is not None)
                for point, payload in held.items()
            )
        return points, left
