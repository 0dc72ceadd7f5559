"""The staleness of answers: how long ago a sink had everything that the log had."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Protocol

import structlog

from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError

_SAMPLE_SECONDS = 0.2
_SAMPLES = 1200
# Of what is older than the newest few, one sample a second says enough.
_NEWEST = 10
_APART_SECONDS = 1.0

log = structlog.get_logger(__name__)


class LogEnds(Protocol):
    """Knows where the log ends now."""

    async def ends(self) -> Mapping[int, int]:
        """Return the next offset of every partition of `memory.events`.

        Raises:
            LogUnavailableError: The brokers do not answer.
        """
        ...


class Freshness:
    """Samples the log's end five times a second and compares it with how far the sinks have come.

    An answer is at most as old as the newest sample that its sink has passed: whatever was written before
    that moment is in the store. At rest that is the time since the last sample, for what others write in it
    nobody here knows of. Timestamps of the events play no part, so an idle log does not look stale and a
    busy one that is behind does not look fresh.

    Args:
        ends: Where the log ends.
        waiter: How far the sinks have come.
        clock: Dates the samples.
    """

    def __init__(self, ends: LogEnds, waiter: WatermarkWaiter, clock: Clock) -> None:
        self._ends = ends
        self._waiter = waiter
        self._clock = clock
        self._samples: list[tuple[float, int, Mapping[int, int]]] = []

    def staleness(self, group: str) -> float | None:
        """Return how many seconds old an answer from this sink can be at most, or None when that is unknown.

        Unknown means: behind for longer than samples are kept, or not sampled yet.
        """
        # Both only grow, so what is passed comes before what is not.
        passed = bisect_left(
            self._samples, True, key=lambda sample: not self._waiter.covers(group, sample[2], sample[1])
        )
        return self._clock.monotonic() - self._samples[passed - 1][0] if passed else None

    async def run(self) -> None:
        """Sample until cancelled. While the brokers do not answer, answers grow older by the clock."""
        while True:
            await self.sample()
            await self._clock.sleep(_SAMPLE_SECONDS)

    async def sample(self) -> None:
        """Take one sample, if the brokers answer."""
        # Dated before asking: what is written while the answer is under way may not be in it.
        taken, epoch = self._clock.monotonic(), self._waiter.epoch
        try:
            ends = await self._ends.ends()
            if self._waiter.epoch == epoch:  # of the log that was asked
                self._samples.append((taken, epoch, ends))
                self._thin_out()
        except SomaError as error:
            log.debug("log_ends_unknown", error=type(error).__name__)

    def _thin_out(self) -> None:
        """Forget what says too little: an answer then counts as older than it is, never as younger."""
        if len(self._samples) > _NEWEST + 1:
            before, _, after = self._samples[-_NEWEST - 2 : -_NEWEST + 1]
            if after[0] - before[0] <= _APART_SECONDS:
                del self._samples[-_NEWEST - 1]
        del self._samples[:-_SAMPLES]
