"""The metrics of producers of events, for whoever publishes: the API, or a program of a user."""

from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum

from confluent_kafka import KafkaError

from soma_schemas.clock import Clock, SystemClock
from soma_schemas.metrics import Catalogue, MetricSet
from soma_schemas.producer import TIMEOUTS
from soma_schemas.versions import Position


class PublishResult(StrEnum):
    """What the brokers answered to an event."""

    ACKNOWLEDGED = "acknowledged"
    TIMED_OUT = "timed_out"  # or did not answer in time; it may be in the log
    REFUSED = "refused"


PRODUCER_METRICS = Catalogue()
SENT = PRODUCER_METRICS.counter(
    "soma_producer_sent_total", "Events that were given to the client of the brokers.", unit="events"
)
ANSWERED = PRODUCER_METRICS.counter(
    "soma_producer_answered_total",
    "Events by what the brokers answered. Those that timed out may be in the log all the same.",
    unit="events",
    labels={"result": PublishResult},
)
QUEUE = PRODUCER_METRICS.gauge(
    "soma_producer_queue_events",
    "Events that have no answer yet. A steady rise: the brokers do not keep up, or are away.",
    unit="events",
)
ACK_SECONDS = PRODUCER_METRICS.histogram(
    "soma_producer_ack_seconds",
    "Time from giving events to the client until all replicas have all of them, one for each call.",
)


class ProducerMetrics:
    """Counts what the producers of one process publish.

    Args:
        metrics: Of the process; `MetricSet(registry)` for a registry of your own.
        clock: Measures.
    """

    def __init__(self, metrics: MetricSet, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.sent = metrics.counter(SENT)
        answered = metrics.counter(ANSWERED)
        self._answered = {result: answered.labels(result) for result in PublishResult}
        self._seconds = metrics.histogram(ACK_SECONDS)
        self._queues: list[Callable[[], int]] = []
        metrics.read(QUEUE, lambda: [((), sum(length() for length in self._queues))])

    def reads_queue(self, length: Callable[[], int]) -> None:
        """Have the length of one producer's queue read at each scrape."""
        self._queues.append(length)

    def answered(self, answers: Iterable[Position | KafkaError | None], began: float) -> None:
        """Count the answers to all events of one call.

        Args:
            answers: A position, or what went wrong.
            began: When the call began, on the clock's monotonic seconds.
        """
        for result, count in Counter(map(_result, answers)).items():
            self._answered[result].inc(count)
        self._seconds.observe(self.clock.monotonic() - began)


def _result(answer: Position | KafkaError | None) -> PublishResult:
    match answer:
        case Position():
            return PublishResult.ACKNOWLEDGED
        case KafkaError() if answer.code() in TIMEOUTS:
            return PublishResult.TIMED_OUT
        case _:
            return PublishResult.REFUSED
