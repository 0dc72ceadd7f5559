"""Which checks there are for an installation: the local stack, or what the environment names."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from soma_cli.diagnosis import broker_checks, machine_checks, service_checks, store_checks
from soma_cli.diagnosis.examination import Check
from soma_cli.diagnosis.findings import Health, Verdict
from soma_cli.failures import UsageError
from soma_cli.invocation import Invocation
from soma_cli.processes.common import Embedders
from soma_cli.settings import KNOWN, OperatorSettings
from soma_cli.tasks import in_thread
from soma_client.client_file import ClientFile
from soma_client.connection import Connection, find_connection
from soma_schemas.admin_client import RenewableAdmin
from soma_schemas.clock import Clock
from soma_schemas.configuration import load
from soma_schemas.metrics import MetricSet
from soma_schemas.settings import ENVIRONMENT_PREFIX
from soma_schemas.topic_admin import BrokerError, log_in_force
from soma_streams.settings import VectorWorkerSettings

_VECTORS = f"{ENVIRONMENT_PREFIX}VECTORS__"
_BROKERS_SILENT = "start the brokers: docs/runbooks/broker-outage.md"
_POSTGRES_SILENT = "start PostgreSQL: docs/runbooks/database-failover.md"
_REGISTRY_SILENT = "start the registry: docs/runbooks/registry-away.md"
_API_SILENT = "look at the log of the API: docs/runbooks/high-latency.md"
_INDEX_SILENT = "start the server of the index: docs/runbooks/qdrant-rebuild.md"
_LAG_SILENT = "start the brokers, or `soma lag collect` again"
_MACHINE_SILENT = "look at the disk: docs/runbooks/disk-full.md"

Look = Callable[[], Awaitable[Sequence[Verdict]]]


@asynccontextmanager
async def open_checks(
    root: Invocation, settings: OperatorSettings, local: ClientFile | None, clock: Clock
) -> AsyncIterator[list[Check]]:
    """Return the checks, with the clients that they ask with, until the block ends."""
    admin = RenewableAdmin(settings.kafka, "soma-doctor")
    kafka, postgres, registry = settings.kafka.bootstrap_servers, settings.postgres, settings.registry
    database = f"{postgres.host}:{postgres.port}/{postgres.database}"
    topics = settings.topics
    with suppress(BrokerError):  # which a check tells
        topics = await in_thread(
            partial(log_in_force, admin.client, settings.topics, broker_checks.ANSWER_SECONDS)
        )
    blocking: list[tuple[str, str, Callable[[], Sequence[Verdict]], str]] = [
        (
            "settings",
            "this environment",
            partial(machine_checks.settings, root.environment),
            _MACHINE_SILENT,
        ),
        ("brokers", kafka, partial(broker_checks.brokers, admin.client), _BROKERS_SILENT),
        ("topics", kafka, partial(broker_checks.topics, admin.client, topics), _BROKERS_SILENT),
        (
            "registry",
            registry.url,
            partial(store_checks.schemas, registry, topics),
            _REGISTRY_SILENT,
        ),
        ("database", database, partial(store_checks.database, postgres), _POSTGRES_SILENT),
        (
            "clocks",
            kafka,
            partial(broker_checks.clock_of_brokers, admin.client, topics, clock),
            _BROKERS_SILENT,
        ),
        ("clocks", database, partial(store_checks.clock_of_database, postgres, clock), _POSTGRES_SILENT),
        ("permissions", kafka, partial(broker_checks.rights, admin.client, topics), _BROKERS_SILENT),
        ("permissions", database, partial(store_checks.roles, postgres), _POSTGRES_SILENT),
    ]
    if local is not None:
        home = str(root.home)
        blocking += [
            ("disk", home, partial(machine_checks.room, root.home), _MACHINE_SILENT),
            ("permissions", home, partial(machine_checks.folders, root.home), _MACHINE_SILENT),
        ]
    checks = [Check(name, at, partial(in_thread, look), silent) for name, at, look, silent in blocking]
    try:
        yield [*checks, *_of_services(root, settings, local, clock)]
    finally:
        await in_thread(admin.close)


def _of_services(
    root: Invocation, settings: OperatorSettings, local: ClientFile | None, clock: Clock
) -> list[Check]:
    collector = settings.collector.url or settings.kafka.bootstrap_servers
    found = [Check("groups", collector, partial(service_checks.groups, settings, collector), _LAG_SILENT)]
    connection = api_connection(root, local)
    if connection is None:
        found.append(Check("api", "SOMA_URL", _not_named, _API_SILENT))
    else:
        url = connection.url
        found += [
            Check("api", url, partial(in_thread, partial(service_checks.api, connection)), _API_SILENT),
            Check(
                "clocks",
                url,
                partial(in_thread, partial(service_checks.clock_of_api, connection, clock)),
                _API_SILENT,
            ),
        ]
    if any(name.startswith(_VECTORS) for name in root.environment):
        vectors = load(VectorWorkerSettings, environment=root.environment, known=KNOWN).settings
        embedders = Embedders(vectors.embedder, vectors.next_embedder, MetricSet())
        look: Look = partial(store_checks.collection, vectors, embedders.declared)
        found.append(Check("index", vectors.vectors.url, look, _INDEX_SILENT))
    elif connection is not None:
        look = partial(in_thread, partial(service_checks.index, connection))
        found.append(Check("index", connection.url, look, _API_SILENT))
    return found


def api_connection(root: Invocation, local: ClientFile | None) -> Connection | None:
    """Return the API of the same installation as the settings; None where nobody names it."""
    if local is not None:
        return Connection.of(local)
    if "SOMA_URL" not in root.environment:
        return None
    try:
        return find_connection(root.environment, None, None)
    except UsageError:
        return None


async def _not_named() -> Sequence[Verdict]:
    remedy = "set SOMA_URL and SOMA_API_KEY to have it looked at"
    return [Verdict(Health.WARNING, "not looked at: nobody named it", remedy)]
