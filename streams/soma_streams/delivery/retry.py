"""Try again in place: a store that is away is back-pressure, not the event's fault."""

from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from random import Random
from typing import Protocol, TypeVar

import structlog

from soma_schemas.clock import Clock
from soma_schemas.errors import told
from soma_schemas.refusals import AccessError
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.settings import RetrySettings

T = TypeVar("T")

_LARGEST_DOUBLING = 32  # an endless retry would overflow a float after a thousand tries


def full_jitter(attempt: int, first: float, longest: float, random: Random) -> float:
    """Return a pause in seconds: anywhere up to the doubled one, so that waiting workers never march in step.

    Args:
        attempt: 0 for the pause after the first failure.
        first: Upper bound of the first pause.
        longest: Upper bound of every pause.
        random: Where the jitter comes from.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0.0, min(longest, first * 2.0 ** min(attempt, _LARGEST_DOUBLING)))


class StoreAvailability(StrEnum):
    """Whether the store answers."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"


class Store(StrEnum):
    """What a worker waits for."""

    POSTGRES = "postgres"
    VECTORS = "vectors"
    KAFKA = "kafka"
    REGISTRY = "registry"


class AvailabilityListener(Protocol):
    """Who wants to know when a store goes away and comes back."""

    def availability_changed(self, state: StoreAvailability) -> None:
        """Take notice. Called once per change, from the event loop."""
        ...


class RetryCounts(Protocol):
    """Who counts failures and waits; a store that is not named is the sink's own."""

    def failed(self, kind: FailureClass) -> None:
        """Count a failed try."""
        ...

    def waited(self, store: Store | None, seconds: float) -> None:
        """Count a try that is made again after a store was away for so much longer."""
        ...

    def away(self, store: Store | None, *, away: bool) -> None:
        """Take notice that a store has gone away, or is back."""
        ...


class Retry:
    """Runs awaitables until each succeeds or fails for good; the store counts as unavailable while one fails.

    Args:
        settings: Pauses and how often to log.
        clock: Measures and sleeps.
        random: Jitter.
        listener: Told when the store goes away and comes back.
        counts: Counts failures and waits.
    """

    def __init__(
        self,
        settings: RetrySettings,
        clock: Clock,
        random: Random,
        listener: AvailabilityListener,
        counts: RetryCounts | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self._listener = listener
        self._counts = counts
        self._log = structlog.get_logger("soma_streams.delivery.retry")
        self._failing: Counter[Store | None] = Counter()
        self.state = StoreAvailability.AVAILABLE

    async def __call__(self, what: str, attempt: Callable[[], Awaitable[T]], store: Store | None = None) -> T:
        """Return what the attempt returns, however long it takes.

        Args:
            what: Names the attempt in the log.
            attempt: Is called anew for each try, and must be safe to repeat.
            store: Which one it asks; None is the sink's own.

        Raises:
            Exception: The attempt's own error, when it is poison or systemic.
        """
        failures = 0
        answered = True
        counted = logged = began = self._clock.monotonic()
        try:
            while True:
                try:
                    return await attempt()
                except Exception as error:
                    kind = self._kind(error, self._clock.monotonic() - began)
                    if self._counts is not None:
                        self._counts.failed(kind)
                    if kind is not FailureClass.TRANSIENT:
                        raise
                    now = self._clock.monotonic()
                    if failures == 0 or now - logged >= self._settings.log_interval.total_seconds():
                        self._log.warning(
                            "store_unavailable",
                            attempt=what,
                            error=type(error).__name__,
                            reason=told(error),
                            failures=failures + 1,
                            seconds=round(now - began, 1),
                        )
                        logged = now
                    if failures == 0:
                        self._begins_to_fail(store)
                    pause = self._pause(failures)
                    failures += 1
                    answered = False  # whoever is cancelled while it waits has no answer
                    await self._clock.sleep(pause)
                    answered = True
                    now = self._clock.monotonic()
                    if self._counts is not None:
                        self._counts.waited(store, now - counted)
                    counted = now
        finally:
            if failures:
                if answered:
                    self._log.info(
                        "store_answers_again",
                        attempt=what,
                        failures=failures,
                        seconds=round(self._clock.monotonic() - began, 1),
                    )
                self._ends_to_fail(store)

    def _kind(self, error: Exception, seconds: float) -> FailureClass:
        """Return the class of an error after so many seconds of trying.

        Who is not let in is tried again for a while: credentials may be being replaced, and be on their way.
        """
        if isinstance(error, AccessError) and seconds < self._settings.refused_patience.total_seconds():
            return FailureClass.TRANSIENT
        return classify(error)

    def _begins_to_fail(self, store: Store | None) -> None:
        self._failing[store] += 1
        if self._counts is not None:
            self._counts.away(store, away=True)
        self._become(StoreAvailability.UNAVAILABLE)

    def _ends_to_fail(self, store: Store | None) -> None:
        self._failing[store] -= 1
        if self._counts is not None:
            self._counts.away(store, away=self._failing[store] > 0)
        if not self._failing.total():
            self._become(StoreAvailability.AVAILABLE)

    def _pause(self, attempt: int) -> float:
        return full_jitter(
            attempt,
            self._settings.backoff_initial.total_seconds(),
            self._settings.backoff_max.total_seconds(),
            self._random,
        )

    def _become(self, state: StoreAvailability) -> None:
        if self.state is not state:
            self.state = state
            self._listener.availability_changed(state)
