"""Every metric of the workers, declared once. Labels are enums: their number of values is bounded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from prometheus_client import Counter, Gauge, Histogram

from soma_schemas.dead_letters import Stage
from soma_schemas.metrics import Catalogue, CounterMetric, GaugeMetric, MetricSet, observe
from soma_schemas.outcomes import Outcome
from soma_schemas.remedies import kind_of
from soma_streams.audit.drift import Drift, Findings
from soma_streams.delivery.failures import FailureClass
from soma_streams.delivery.retry import Store
from soma_streams.delivery.settle import Settled
from soma_streams.delivery.state import DecodedBy


class SinkName(StrEnum):
    """The sinks, as labels."""

    POSTGRES = "postgres"
    VECTORS = "vectors"
    DEAD_LETTER_INDEX = "dead_letter_index"
    POLICIES = "policies"
    ERASURES = "erasures"


class BatchPath(StrEnum):
    """How the events of a batch were read."""

    NATIVE = "native"  # all by the extension
    REFERENCE = "reference"  # all by fastavro and the models
    MIXED = "mixed"


class AuditResult(StrEnum):
    """How an audit of the stores ends."""

    COMPLETED = "completed"
    FAILED = "failed"


_AGE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 120, 600, 3600, 21600)
_SIZE_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000)
_SETTLE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300)
_WORK_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)

WORKER_METRICS = Catalogue()
SETTLED = WORKER_METRICS.counter(
    "soma_events_settled_total",
    "Events that reached their final outcome.",
    unit="events",
    labels={"sink": SinkName, "outcome": Outcome},
)
DECODED = WORKER_METRICS.counter(
    "soma_events_decoded_total",
    "Events by what read them: the native extension, or the reference, which takes longer.",
    unit="events",
    labels={"sink": SinkName, "by": DecodedBy},
)
REPLAYED = WORKER_METRICS.counter(
    "soma_events_replayed_total",
    "Of the settled events those that are dead letters published again: how far a replay is.",
    unit="events",
    labels={"sink": SinkName, "outcome": Outcome},
)
BATCHES = WORKER_METRICS.counter(
    "soma_batches_settled_total",
    "Batches by how their events were read: all natively, all by the reference, or some each.",
    unit="batches",
    labels={"sink": SinkName, "path": BatchPath},
)
DEAD_LETTERS = WORKER_METRICS.counter(
    "soma_dead_letters_total",
    "Events that went to the dead-letter topic, by where they failed and why. A line begins with its first "
    "event; a rate over all is that of soma_events_settled_total.",
    unit="events",
    labels={
        "sink": SinkName,
        "stage": Stage,
        "code": "codes of dead letters; those of a store by their class, others as `unknown`",
    },
)
DEAD_LETTER_FLOOD = WORKER_METRICS.gauge(
    "soma_dead_letter_flood_level",
    "How near the worker is to a stop because too many of the last events are dead letters: at 1 it stops.",
    unit="of 1",
    labels={"sink": SinkName},
)
ERRORS = WORKER_METRICS.counter(
    "soma_sink_errors_total",
    "Failed tries to read from or write to a store. A rise of `transient` is an outage.",
    unit="tries",
    labels={"sink": SinkName, "class": FailureClass},
)
RETRIES = WORKER_METRICS.counter(
    "soma_retries_total",
    "Tries that are made again because a store did not answer.",
    unit="tries",
    labels={"sink": SinkName, "store": Store},
)
AWAY_SECONDS = WORKER_METRICS.counter(
    "soma_store_away_seconds_total",
    "Time for which a store was away; rises while it is.",
    unit="seconds",
    labels={"sink": SinkName, "store": Store},
)
UNAVAILABLE = WORKER_METRICS.gauge(
    "soma_store_unavailable",
    "1 while a store is away and this sink waits for it.",
    unit="stores",
    labels={"sink": SinkName, "store": Store},
)
EVENT_AGE = WORKER_METRICS.histogram(
    "soma_event_age_seconds",
    "Time from the log's receipt of a batch's newest event to its settlement: how fresh the store is.",
    labels={"sink": SinkName},
    buckets=_AGE_BUCKETS,
)
BATCH_EVENTS = WORKER_METRICS.histogram(
    "soma_batch_events",
    "Events settled in one batch.",
    unit="events",
    labels={"sink": SinkName},
    buckets=_SIZE_BUCKETS,
)
SETTLE_SECONDS = WORKER_METRICS.histogram(
    "soma_settle_seconds",
    "Time to settle one batch, waiting for a store included.",
    labels={"sink": SinkName},
    buckets=_SETTLE_BUCKETS,
)
DECODE_SECONDS = WORKER_METRICS.histogram(
    "soma_decode_seconds",
    "Time to decode one batch.",
    labels={"sink": SinkName},
    buckets=_WORK_BUCKETS,
)
WRITE_SECONDS = WORKER_METRICS.histogram(
    "soma_write_seconds",
    "Time in which the store took one batch, without tries that failed and the waits between them.",
    labels={"sink": SinkName},
    buckets=_WORK_BUCKETS,
)
OLDEST_UNSETTLED = WORKER_METRICS.gauge(
    "soma_oldest_unsettled_seconds",
    "Age of the batch that has been under way for the longest time; 0 when idle.",
    unit="seconds",
    labels={"sink": SinkName},
)
STILL_SECONDS = WORKER_METRICS.gauge(
    "soma_still_seconds",
    "For how long nothing was settled although the log has more, by the brokers' account. At "
    "SOMA_WORKER__STALLED_AFTER the worker is not alive any more.",
    unit="seconds",
    labels={"sink": SinkName},
)
WATERMARK = WORKER_METRICS.gauge(
    "soma_watermark_offset",
    "Every event of the partition below it is settled; only of partitions that this process has now.",
    unit="offset",
    labels={"sink": SinkName, "partition": "of the topic"},
)
ASSIGNED = WORKER_METRICS.gauge(
    "soma_assigned_partitions",
    "Partitions that this process has now. 0 for all processes of a group: nobody reads.",
    unit="partitions",
    labels={"sink": SinkName},
)
REBALANCES = WORKER_METRICS.counter(
    "soma_rebalances_total",
    "Times that this process was given its partitions. A steady rise: members come and go.",
    unit="rebalances",
    labels={"sink": SinkName},
)
BUFFERED_EVENTS = WORKER_METRICS.gauge(
    "soma_buffered_events",
    "Events that were fetched and are not settled.",
    unit="events",
    labels={"sink": SinkName},
)
BUFFERED_BYTES = WORKER_METRICS.gauge(
    "soma_buffered_bytes",
    "Bytes that were fetched and are not settled; the most is eight times SOMA_DELIVERY__BATCH_BYTES.",
    unit="bytes",
    labels={"sink": SinkName},
)
GONE_UNREAD = WORKER_METRICS.counter(
    "soma_events_gone_unread_total",
    "Offsets that retention had deleted before they were read. Any rise is a loss.",
    unit="events",
    labels={"sink": SinkName},
)

VECTOR_WORKER_METRICS = Catalogue()
POINTS = VECTOR_WORKER_METRICS.gauge(
    "soma_vector_points",
    "About how many points the vector index has: memories, tombstones, and its notes about itself.",
    unit="points",
)
INDEX_WHOLE = VECTOR_WORKER_METRICS.gauge(
    "soma_index_whole",
    "1 once the worker follows the log into an index that lacks nothing before; 0 while it is filled.",
    unit="indexes",
)
FILLED = VECTOR_WORKER_METRICS.counter(
    "soma_index_filled_memories_total",
    "Memories that were written to the index from PostgreSQL, because the log has them no more.",
    unit="memories",
)
TO_FILL = VECTOR_WORKER_METRICS.gauge(
    "soma_index_to_fill_memories",
    "Memories that are still to be written to the index from PostgreSQL: what is left of a rebuild.",
    unit="memories",
)
DRIFT = VECTOR_WORKER_METRICS.gauge(
    "soma_drift_found",
    "Differences between log, PostgreSQL and vector index that the last audit found and did not mend.",
    unit="differences",
    labels={"kind": Drift},
)
AUDITED = VECTOR_WORKER_METRICS.gauge(
    "soma_audit_completed_timestamp_seconds",
    "When the last audit of the stores was completed, since 1970; not there before the first.",
    unit="seconds",
)
AUDITS = VECTOR_WORKER_METRICS.counter(
    "soma_audits_total",
    "Audits of the stores. A rise of `failed`: a store did not answer or refused, and nobody knows of drift.",
    unit="audits",
    labels={"result": AuditResult},
)


RETENTION_METRICS = Catalogue()
OVERDUE_SECONDS = RETENTION_METRICS.gauge(
    "soma_retention_overdue_seconds",
    "For how long the memory with the oldest deadline should have been ended; 0 when none is due.",
    unit="seconds",
)
NOTICES = RETENTION_METRICS.counter(
    "soma_retention_notices_total",
    "Memories of whose end `memory.expiring` was told.",
    unit="memories",
)
EXPIRIES = RETENTION_METRICS.counter(
    "soma_retention_expiries_total",
    "Memories whose end was published because their time had come.",
    unit="memories",
)
ARCHIVED = RETENTION_METRICS.counter(
    "soma_retention_archived_total",
    "Last states that were published to `memory.expired`.",
    unit="memories",
)
OUTBOX_ROWS = RETENTION_METRICS.gauge(
    "soma_retention_outbox_rows",
    "Last states that were not in `memory.expired` at the last look.",
    unit="rows",
)
LEADER = RETENTION_METRICS.gauge(
    "soma_retention_leader",
    "1 for the process that sweeps, 0 for those that stand by. 0 for all: nothing is ended.",
    unit="processes",
)
HISTORY_MONTHS = RETENTION_METRICS.gauge(
    "soma_retention_history_months",
    "Months that the history has, with the one made ahead, at the last look of the process that sweeps.",
    unit="months",
)
HISTORY_MONTHS_DROPPED = RETENTION_METRICS.counter(
    "soma_retention_history_months_dropped_total",
    "Months of the history that were dropped because they were older than it is kept.",
    unit="months",
)
BACKUP_MADE = RETENTION_METRICS.gauge(
    "soma_backup_made_timestamp_seconds",
    "When the newest backup on record was made, since 1970; 0 when there is none.",
    unit="seconds",
)


class RetentionMetrics:
    """What the sweeper and the relay tell about themselves.

    Args:
        metrics: Of the process.
    """

    def __init__(self, metrics: MetricSet) -> None:
        self.metrics = metrics
        self.notices = metrics.counter(NOTICES)
        self.expiries = metrics.counter(EXPIRIES)
        self.archived = metrics.counter(ARCHIVED)
        self.outbox_rows = metrics.gauge(OUTBOX_ROWS)
        self.leader = metrics.gauge(LEADER)
        self.history_months = metrics.gauge(HISTORY_MONTHS)
        self.history_months_dropped = metrics.counter(HISTORY_MONTHS_DROPPED)

    def read_overdue(self, seconds: Callable[[], float]) -> None:
        """Have it read at each scrape for how long the memory with the oldest deadline is overdue."""
        self.metrics.read(OVERDUE_SECONDS, lambda: [((), seconds())])


class WorkerMetrics:
    """The metrics of one worker process, over all its sinks.

    Args:
        metrics: Of the process.
    """

    def __init__(self, metrics: MetricSet) -> None:
        self._metrics = metrics

    def of(self, sink: SinkName) -> "SinkMetrics":
        """Return one sink's share, every label made: a counter that never rose reads 0, not nothing."""
        of, name = self._metrics, sink.value
        return SinkMetrics(
            sink=sink,
            store=Store.VECTORS if sink is SinkName.VECTORS else Store.POSTGRES,
            metrics=of,
            settled={each: of.counter(SETTLED).labels(name, each.value) for each in Outcome},
            decoded={each: of.counter(DECODED).labels(name, each.value) for each in DecodedBy},
            replayed={each: of.counter(REPLAYED).labels(name, each.value) for each in Outcome},
            batches={each: of.counter(BATCHES).labels(name, each.value) for each in BatchPath},
            dead_letters=of.counter(DEAD_LETTERS),
            errors={each: of.counter(ERRORS).labels(name, each.value) for each in FailureClass},
            retries={each: of.counter(RETRIES).labels(name, each.value) for each in Store},
            away_seconds={each: of.counter(AWAY_SECONDS).labels(name, each.value) for each in Store},
            unavailable={each: of.gauge(UNAVAILABLE).labels(name, each.value) for each in Store},
            event_age=of.histogram(EVENT_AGE).labels(name),
            batch_events=of.histogram(BATCH_EVENTS).labels(name),
            settle_seconds=of.histogram(SETTLE_SECONDS).labels(name),
            decode_seconds=of.histogram(DECODE_SECONDS).labels(name),
            write_seconds=of.histogram(WRITE_SECONDS).labels(name),
        )


class FillMetrics:
    """How far an index is filled.

    Args:
        metrics: Of the process.
    """

    def __init__(self, metrics: MetricSet) -> None:
        self.filled = metrics.counter(FILLED)
        self.to_fill = metrics.gauge(TO_FILL)


class AuditMetrics:
    """What the audits of the stores found.

    Args:
        metrics: Of the process.
    """

    def __init__(self, metrics: MetricSet) -> None:
        self._drift = {kind: metrics.gauge(DRIFT).labels(kind.value) for kind in Drift}
        self._audits = {each: metrics.counter(AUDITS).labels(each.value) for each in AuditResult}
        self._completed_at: float | None = None
        metrics.read(AUDITED, lambda: [((), at) for at in [self._completed_at] if at is not None])

    def completed(self, findings: Findings, now: datetime) -> None:
        """Take notice of an audit that looked at everything."""
        for kind, tally in findings.tallies.items():
            self._drift[kind].set(tally.left)
        self._completed_at = now.timestamp()
        self._audits[AuditResult.COMPLETED].inc()

    def failed(self) -> None:
        """Take notice of one that did not."""
        self._audits[AuditResult.FAILED].inc()


@dataclass(frozen=True, kw_only=True)
class SinkMetrics:
    """What one sink tells about itself."""

    sink: SinkName
    store: Store
    metrics: MetricSet
    settled: Mapping[Outcome, Counter]
    decoded: Mapping[DecodedBy, Counter]
    replayed: Mapping[Outcome, Counter]
    batches: Mapping[BatchPath, Counter]
    dead_letters: Counter
    errors: Mapping[FailureClass, Counter]
    retries: Mapping[Store, Counter]
    away_seconds: Mapping[Store, Counter]
    unavailable: Mapping[Store, Gauge]
    event_age: Histogram
    batch_events: Histogram
    settle_seconds: Histogram
    decode_seconds: Histogram
    write_seconds: Histogram

    def read(self, metric: CounterMetric | GaugeMetric, value: Callable[[], float]) -> None:
        """Have the sink's value of a metric read at each scrape."""
        self.metrics.read(metric, lambda: [((self.sink.value,), value())])

    def read_by_partition(self, metric: GaugeMetric, values: Callable[[], Mapping[int, float]]) -> None:
        """Have the sink's values of a metric read at each scrape, one for a partition."""
        self.metrics.read(
            metric,
            lambda: [((self.sink.value, str(partition)), value) for partition, value in values().items()],
        )

    def failed(self, kind: FailureClass) -> None:
        """Count a failed try."""
        self.errors[kind].inc()

    def waited(self, store: Store | None, seconds: float) -> None:
        """Count a try that is made again after a store was away for so much longer."""
        self.retries[store or self.store].inc()
        self.away_seconds[store or self.store].inc(seconds)

    def away(self, store: Store | None, *, away: bool) -> None:
        """Show whether a store is away."""
        self.unavailable[store or self.store].set(away)

    def batch_settled(self, settled: Settled, events: int, seconds: float, age_seconds: float) -> None:
        """Count what became of a batch, and what it took.

        Args:
            settled: What became of it.
            events: How many it had.
            seconds: How long it took.
            age_seconds: Since the log received its newest event.
        """
        for outcome, count in settled.outcomes.items():
            if count:
                self.settled[outcome].inc(count)
        for way, count in settled.decoded.items():
            if count:
                self.decoded[way].inc(count)
        for outcome, count in settled.replayed.items():
            self.replayed[outcome].inc(count)
        for (stage, code), count in settled.dead_letters.items():
            self.dead_letters.labels(self.sink.value, stage.value, kind_of(code)).inc(count)
        self.batches[_path(settled.decoded)].inc()
        self.batch_events.observe(events)
        observe(self.settle_seconds, seconds)
        observe(self.event_age, age_seconds)
        observe(self.decode_seconds, settled.decode_seconds)
        observe(self.write_seconds, settled.write_seconds)


def _path(decoded: Mapping[DecodedBy, int]) -> BatchPath:
    if not decoded.get(DecodedBy.NATIVE):
        return BatchPath.REFERENCE
    return BatchPath.MIXED if decoded.get(DecodedBy.REFERENCE) else BatchPath.NATIVE
