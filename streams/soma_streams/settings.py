"""The settings of the workers."""

from datetime import timedelta

from pydantic import Field

from soma_schemas.settings import (
    Duration,
    EmbedderSettings,
    EncryptionSettings,
    IndexSettings,
    NextEmbedderSettings,
    PemFile,
    PostgresSettings,
    PublishingSettings,
    SettingsGroup,
    VectorSettings,
)
from soma_schemas.topics import REPLAYABLE


class RetrySettings(SettingsGroup):
    """How long to wait before a store is tried again."""

    backoff_initial: Duration = Field(
        timedelta(milliseconds=100),
        gt=timedelta(0),
        description="Upper bound of the pause after the first failure.",
    )
    backoff_max: Duration = Field(
        timedelta(seconds=30),
        gt=timedelta(0),
        description="Longest pause between two tries. Longer spares a sick store, and sees it recover later.",
    )
    log_interval: Duration = Field(
        timedelta(seconds=60),
        gt=timedelta(0),
        description="How often an outage that goes on is logged again.",
    )
    refused_patience: Duration = Field(
        timedelta(seconds=60),
        ge=timedelta(0),
        description="How long a service may refuse a worker that runs, for a wrong password or certificate, "
        "before the worker ends: the time until new ones are everywhere. At a start it ends at once.",
    )


class DeliverySettings(SettingsGroup):
    """How events are taken from the log."""

    batch_events: int = Field(
        2000,
        ge=1,
        le=50_000,
        description="Most events in one write. More are cheaper each, and a failed write repeats more.",
    )
    batch_bytes: int = Field(
        16 * 1024 * 1024, ge=1024, description="Most bytes of records in one write; one record may be larger."
    )
    max_concurrent_partitions: int = Field(
        2,
        ge=1,
        le=32,
        description="From how many partitions events are written to PostgreSQL at the same time. "
        "Each takes a connection.",
    )
    buffered_events: int = Field(
        8000, ge=1, description="Most events of one partition that wait in memory for their write."
    )
    session_timeout: Duration = Field(
        timedelta(seconds=30),
        gt=timedelta(seconds=1),
        description="How long the brokers wait for a sign of life before they give our partitions to others.",
    )
    drain_timeout: Duration = Field(
        timedelta(seconds=10),
        gt=timedelta(0),
        description="How long a stop or a rebalance waits for the write that is under way.",
    )
    instance_id: str | None = Field(
        None, description="Static group membership: a restart under the same name causes no rebalance."
    )
    max_consecutive_dead_letters: int = Field(
        200, ge=1, description="Stop the worker when this many events in a row are dead letters."
    )
    max_dead_letter_ratio: float = Field(
        0.5,
        gt=0.0,
        le=1.0,
        description="Stop the worker when this share of the last events are dead letters.",
    )
    dead_letter_window: int = Field(
        2000, ge=10, description="How many of the last events the share is taken over."
    )


class AuditSettings(SettingsGroup):
    """How the stores are compared in the background."""

    interval: Duration = Field(
        timedelta(hours=6),
        gt=timedelta(0),
        description="How long after one comparison of log, PostgreSQL and vector index the next one begins.",
    )
    per_second: int = Field(
        500,
        ge=1,
        description="Most records, rows and points that are compared in a second. More find drift sooner and "
        "take more of a processor.",
    )
    expiry_grace: Duration = Field(
        timedelta(hours=1),
        ge=timedelta(0),
        description="How long after its deadline a memory may still be there before it counts as overdue.",
    )


class WorkerSettings(SettingsGroup):
    """The worker's probe server, for probes and metrics."""

    host: str = Field("127.0.0.1", description="Address of /metrics, /healthz and /readyz.")
    port: int = Field(9464, ge=0, le=65535, description="Port of the same; 0 chooses a free one.")
    stalled_after: Duration = Field(
        timedelta(minutes=5),
        gt=timedelta(0),
        description="Liveness fails when nothing is settled for this long although the log has more and the "
        "store answers.",
    )


class DeliveringSettings(PublishingSettings):
    """What every worker that settles events needs."""

    retry: RetrySettings = Field(RetrySettings(), description="How failing stores are tried again.")
    delivery: DeliverySettings = Field(DeliverySettings(), description="How events are taken from the log.")
    worker: WorkerSettings = Field(WorkerSettings(), description="The worker's probe server.")
    postgres: PostgresSettings = Field(PostgresSettings(), description="PostgreSQL.")
    encryption: EncryptionSettings = Field(
        EncryptionSettings(), description="How events are encrypted that name a subject."
    )


class PostgresWorkerSettings(DeliveringSettings):
    """Settings of `soma work postgres`, which also indexes dead letters."""


class RetentionSettings(SettingsGroup):
    """How memories whose time has come are looked for."""

    sweep_interval: Duration = Field(
        timedelta(seconds=5),
        gt=timedelta(0),
        description="Pause between two looks for memories whose time has come. Shorter ends them sooner "
        "after their deadline.",
    )
    page_memories: int = Field(
        500,
        ge=1,
        le=10_000,
        description="Most memories that are read, judged and published at once. What a page ends is applied "
        "by `soma work postgres` before the next page is read.",
    )
    memories_per_second: float = Field(
        1000.0,
        gt=0.0,
        description="Most memories that are ended or told of in a second. Fewer leave the sinks more room "
        "for other events while a new policy ends many.",
    )
    history_kept: Duration | None = Field(
        None,
        ge=REPLAYABLE,
        le=timedelta(days=36_525),
        description="How long it is known what became of a write and what it said; without it, for ever. "
        "The history goes by whole months, and never before the brokers have dropped all that could be "
        "delivered again, from the log or as a dead letter.",
    )


class ErasureSettings(SettingsGroup):
    """How erasures are proven."""

    signing_key_file: PemFile | None = Field(
        None,
        description="PEM file (PKCS8) of the Ed25519 key that signs receipts; without one no erasure begins. "
        "Make one with `openssl genpkey -algorithm ed25519`, and give its public key to who checks receipts.",
    )


class RetentionWorkerSettings(DeliveringSettings):
    """Settings of `soma work retention`."""

    retention: RetentionSettings = Field(
        RetentionSettings(), description="How memories whose time has come are looked for."
    )
    erasure: ErasureSettings = Field(ErasureSettings(), description="How erasures are proven.")


class VectorWorkerSettings(DeliveringSettings):
    """Settings of `soma work vectors`. PostgreSQL gets its watermarks, and may be away."""

    vectors: VectorSettings = Field(VectorSettings(), description="The vector index.")
    index: IndexSettings = Field(IndexSettings(), description="How a new vector index is made.")
    embedder: EmbedderSettings = Field(EmbedderSettings(), description="What turns text into vectors.")
    next_embedder: NextEmbedderSettings = Field(
        NextEmbedderSettings(), description="What the index is being rebuilt for."
    )
    audit: AuditSettings = Field(
        AuditSettings(), description="How the stores are compared in the background."
    )
