"""Visibility of writes: whether the stores have them, waiting for them, and staleness."""

from collections.abc import Sequence

from soma_api.freshness import Freshness
from soma_api.index_completeness import IndexLook, IndexState
from soma_api.metrics import ApiMetrics, WaitFor, WaitResult
from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas import tracing
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError
from soma_schemas.groups import SinkGroup
from soma_schemas.versions import Position

_LOOK_AGAIN_SECONDS = 0.25


class Visibility:
    """What the stores show of the log. The vector index counts only while it is complete.

    Args:
        waiter: How far the sinks have come.
        index: Tells how complete the vector index is.
        freshness: How old answers may be.
        metrics: Counts waits.
        clock: Measures them.
    """

    def __init__(
        self,
        *,
        waiter: WatermarkWaiter,
        index: IndexLook,
        freshness: Freshness,
        metrics: ApiMetrics,
        clock: Clock,
    ) -> None:
        self._waiter = waiter
        self._index = index
        self._freshness = freshness
        self._metrics = metrics
        self._clock = clock

    @property
    def epoch(self) -> int:
        """Of the log."""
        return self._waiter.epoch

    def passed(self, groups: Sequence[SinkGroup], position: Position) -> bool:
        """Say whether all these sinks have settled this position."""
        return self._waiter.passed(groups, [position])

    async def wait(
        self, wait_for: WaitFor, groups: Sequence[SinkGroup], positions: Sequence[Position], seconds: float
    ) -> bool:
        """Wait until these sinks have settled these positions, say whether they have, and count it.

        While the index is not complete, what was settled into it may be missing from it.
        """
        started = self._clock.monotonic()
        with tracing.part(f"wait for {wait_for}"):
            visible = await self._waiter.wait(groups, positions, seconds)
            while visible and SinkGroup.VECTORS in groups and not await self.index_is_complete():
                await self._clock.sleep(_LOOK_AGAIN_SECONDS)
                visible = self._clock.monotonic() - started < seconds
        result = WaitResult.VISIBLE if visible else WaitResult.TIMED_OUT
        self._metrics.waited(wait_for, result, self._clock.monotonic() - started)
        return visible

    async def index_state(self) -> IndexState:
        """Return how complete the index is.

        Raises:
            SomaError: The index does not answer.
        """
        return await self._index.look()

    async def index_is_complete(self) -> bool:
        """Say whether the index has everything that was settled into it; one that is away has not."""
        try:
            return (await self._index.look()).complete
        except (SomaError, ConnectionError, TimeoutError):
            return False

    async def staleness(self, group: SinkGroup) -> float | None:
        """Return how many seconds old an answer from this sink can be at most; None when that is unknown."""
        if group is SinkGroup.VECTORS and not await self.index_is_complete():
            return None
        return self._freshness.staleness(group)
