"""The settings of every process, by name, and how the operator's commands read theirs."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Self

from pydantic import Field, SecretStr

from soma_api.settings import ApiSettings
from soma_cli.connection import find_settings
from soma_cli.invocation import Invocation
from soma_cli.standard_streams import log_to_standard_error
from soma_client.client_file import ClientFile
from soma_schemas import tracing
from soma_schemas.configuration import load
from soma_schemas.errors import ConfigurationError
from soma_schemas.lag import CollectorPlace
from soma_schemas.settings import (
    EmbedderSettings,
    EncryptionSettings,
    IndexSettings,
    PostgresSettings,
    ProcessSettings,
    PublishingSettings,
    SettingsGroup,
)
from soma_streams.lag.lag_settings import LagCollectorSettings
from soma_streams.settings import (
    AuditSettings,
    DeliverySettings,
    PostgresWorkerSettings,
    RetentionWorkerSettings,
    RetrySettings,
    VectorWorkerSettings,
    WorkerSettings,
)


class OwnerSettings(PostgresSettings):
    """Where PostgreSQL is, for its owner."""

    # A default of the field, not of the part: it has to hold when only a host or a password is set.
    user: str = Field("soma_owner", description=PostgresSettings.model_fields["user"].description)


class WatermarkLogin(SettingsGroup):
    """How the vector worker inside the API logs in to the API's database."""

    user: str = Field("soma_worker", description="Login of the vector worker, which writes its watermarks.")
    password: SecretStr = Field(SecretStr(""), description="Its password.")

    @classmethod
    def of(cls, postgres: PostgresSettings) -> Self:
        """Return the login of other settings."""
        return cls(user=postgres.user, password=postgres.password)


class OperatorSettings(PublishingSettings):
    """What the commands of an operator need: topics, schemas, migrate, keys, dlq, import, lag, backup."""

    postgres: OwnerSettings = Field(
        OwnerSettings(),
        description="PostgreSQL, as the owner of the database: for `migrate`, `keys`, `backup`, `restore`. "
        "For `dlq`, a login that has role soma_operators will do.",
    )
    embedder: EmbedderSettings = Field(
        EmbedderSettings(), description="What computes embeddings: `backup` notes it in the archive."
    )
    encryption: EncryptionSettings = Field(
        EncryptionSettings(), description="How events are encrypted that name a subject."
    )
    collector: CollectorPlace = Field(
        CollectorPlace(), description="The lag collector. Without one, `soma lag` asks the brokers itself."
    )


class EmbeddedApiSettings(ApiSettings):
    """Settings of `soma serve --embedded-vectors`: the API, and the vector worker with its index, in one."""

    retry: RetrySettings = Field(RetrySettings(), description="How failing stores are tried again.")
    delivery: DeliverySettings = Field(DeliverySettings(), description="How events are taken from the log.")
    worker: WorkerSettings = Field(
        WorkerSettings(), description="The server of probes and metrics of the vector worker."
    )
    index: IndexSettings = Field(IndexSettings(), description="How a new vector index is made.")
    watermarks: WatermarkLogin = Field(
        WatermarkLogin(), description="How the vector worker logs in to PostgreSQL."
    )
    audit: AuditSettings = Field(
        AuditSettings(), description="How the stores are compared in the background."
    )

    def vector_worker(self) -> VectorWorkerSettings:
        """Return the settings of the vector worker."""
        shared = {
            name: getattr(self, name) for name in VectorWorkerSettings.model_fields if name != "postgres"
        }
        postgres = self.postgres.model_copy(update=dict(self.watermarks))
        return VectorWorkerSettings(postgres=postgres, **shared)


class Process(StrEnum):
    """What reads settings."""

    POSTGRES_WORKER = "postgres-worker"
    VECTOR_WORKER = "vector-worker"
    RETENTION_WORKER = "retention-worker"
    API = "api"
    EMBEDDED_API = "embedded-api"
    LAG_COLLECTOR = "lag-collector"
    OPERATOR = "operator"


PROCESSES: dict[Process, type[ProcessSettings]] = {
    Process.POSTGRES_WORKER: PostgresWorkerSettings,
    Process.VECTOR_WORKER: VectorWorkerSettings,
    Process.RETENTION_WORKER: RetentionWorkerSettings,
    Process.API: ApiSettings,
    Process.EMBEDDED_API: EmbeddedApiSettings,
    Process.LAG_COLLECTOR: LagCollectorSettings,
    Process.OPERATOR: OperatorSettings,
}

# Several processes may share one environment or file: what one of them knows, the others let pass.
KNOWN = tuple(PROCESSES.values())


def settings_faults(
    environment: Mapping[str, str], processes: Iterable[Process] = tuple(Process)
) -> dict[Process, str | None]:
    """Return for each process what is wrong with its settings; None where nothing is."""
    faults: dict[Process, str | None] = {}
    for process in processes:
        try:
            load(PROCESSES[process], environment=environment, known=KNOWN)
        except ConfigurationError as wrong:
            faults[process] = str(wrong)
        else:
            faults[process] = None
    return faults


def operator_settings(root: Invocation, *, wanted: bool = True) -> tuple[OperatorSettings, ClientFile | None]:
    """Return the settings of an operator's command; and the local stack, when they are its.

    Args:
        root: This run of `soma`.
        wanted: Whether the command goes to Kafka, the registry or PostgreSQL; if not, there need be none.

    Raises:
        UsageError: There are none, and no local stack runs.
        ConfigurationError: They are wrong.
    """
    log_to_standard_error()
    variables, local = find_settings(root) if wanted else (root.environment, None)
    settings = load(OperatorSettings, environment=variables, known=KNOWN).settings
    tracing.start(settings.tracing, "soma")
    return settings, local
