"""Every metric of the workers, declared once. Labels are enums: their number of values is bounded."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from soma_schemas.outcomes import Outcome
from soma_streams.delivery.failures import FailureClass
from soma_streams.delivery.retry import StoreAvailability
from soma_streams.delivery.state import DecodedBy


class SinkName(StrEnum):
    """The sinks, as labels."""

    POSTGRES = "postgres"
    VECTORS = "vectors"
    DEAD_LETTER_INDEX = "dead_letter_index"


_AGE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 120, 600, 3600, 21600)
_SIZE_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000)
_SETTLE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300)


class WorkerMetrics:
    """The metrics of one worker process, over all its sinks.

    Args:
        registry: Where they are collected.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._settled = Counter(
            "soma_events_settled",
            "Events that reached their final outcome.",
            ["sink", "outcome"],
            registry=registry,
        )
        self._decoded = Counter(
            "soma_events_decoded",
            "Events by what read them: the native extension, or the reference, which takes longer.",
            ["sink", "by"],
            registry=registry,
        )
        self._errors = Counter(
            "soma_sink_errors",
            "Failed tries to read from or write to a store. A rise of `transient` is an outage.",
            ["sink", "class"],
            registry=registry,
        )
        self._event_age = Histogram(
            "soma_event_age_seconds",
            "Time from the log's receipt of a batch's newest event to its settlement.",
            ["sink"],
            buckets=_AGE_BUCKETS,
            registry=registry,
        )
        self._batch_events = Histogram(
            "soma_batch_events",
            "Events settled in one batch.",
            ["sink"],
            buckets=_SIZE_BUCKETS,
            registry=registry,
        )
        self._settle_seconds = Histogram(
            "soma_settle_seconds",
            "Time to settle one batch, waiting for a store included.",
            ["sink"],
            buckets=_SETTLE_BUCKETS,
            registry=registry,
        )
        self._store_unavailable = Gauge(
            "soma_store_unavailable",
            "1 while a store is away and fetching is paused.",
            ["sink"],
            registry=registry,
        )
        self._oldest_unsettled = Gauge(
            "soma_oldest_unsettled_seconds",
            "Age of the batch that has been under way for the longest time; 0 when idle.",
            ["sink"],
            registry=registry,
        )

    def of(self, sink: SinkName) -> "SinkMetrics":
        """Return one sink's share, every label made: a counter that never rose reads 0, not nothing."""
        return SinkMetrics(
            settled={outcome: self._settled.labels(sink.value, outcome.value) for outcome in Outcome},
            decoded={way: self._decoded.labels(sink.value, way.value) for way in DecodedBy},
            errors={kind: self._errors.labels(sink.value, kind.value) for kind in FailureClass},
            event_age=self._event_age.labels(sink.value),
            batch_events=self._batch_events.labels(sink.value),
            settle_seconds=self._settle_seconds.labels(sink.value),
            store_unavailable=self._store_unavailable.labels(sink.value),
            oldest_unsettled=self._oldest_unsettled.labels(sink.value),
        )


@dataclass(frozen=True)
class SinkMetrics:
    """What one sink tells about itself."""

    settled: Mapping[Outcome, Counter]
    decoded: Mapping[DecodedBy, Counter]
    errors: Mapping[FailureClass, Counter]
    event_age: Histogram
    batch_events: Histogram
    settle_seconds: Histogram
    store_unavailable: Gauge
    oldest_unsettled: Gauge

    def failed(self, kind: FailureClass) -> None:
        """Count a failed try."""
        self.errors[kind].inc()

    def availability_changed(self, state: StoreAvailability) -> None:
        """Show whether the store answers."""
        self.store_unavailable.set(state is StoreAvailability.UNAVAILABLE)
