"""The facts that a support bundle holds, and where each comes from."""

import asyncio
import platform
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import httpx
import psycopg
from confluent_kafka.admin import ConfigResource, ResourceType

from soma_cli.database_errors import told_in_words
from soma_cli.diagnosis.broker_checks import ANSWER_SECONDS, answer_of
from soma_cli.diagnosis.bundle import Piece, as_json
from soma_cli.diagnosis.check_list import api_connection, open_checks
from soma_cli.diagnosis.examination import CHECK_SECONDS, examine
from soma_cli.invocation import Invocation
from soma_cli.lag_sources import open_lag_source
from soma_cli.local.home import LOOPBACK, ports_of
from soma_cli.settings import KNOWN, PROCESSES, OperatorSettings
from soma_cli.tasks import in_thread
from soma_client.client_file import ClientFile
from soma_client.connection import Connection
from soma_schemas.admin_client import RenewableAdmin
from soma_schemas.clock import Clock
from soma_schemas.configuration import load
from soma_schemas.errors import ConfigurationError
from soma_schemas.http_clients import client_options
from soma_schemas.log_epochs import epochs_of
from soma_schemas.settings import KafkaSettings, PostgresSettings, TopicSettings
from soma_schemas.topics import TOPICS
from soma_streams.lag.lag_settings import LagSettings

# Those of our own processes: they hold no content, while those of other programs quote statements.
_OUR_LOGS = ("up", "worker", "retention", "api", "lag")
_LOG_BYTES = 256 * 1024
_OUR_PORTS = ("worker", "retention", "api-worker", "api", "lag")


def pieces(
    root: Invocation,
    environment: Mapping[str, str],
    settings: OperatorSettings,
    local: ClientFile | None,
    clock: Clock,
) -> list[Piece]:
    """Return what can be packed of an installation.

    Args:
        root: This run of `soma`.
        environment: The variables that say where everything is.
        settings: The operator's.
        local: The local stack, when they are its.
        clock: Tells the time.
    """
    return [
        Piece("versions.json", "versions of soma, Python, the system and every library", _versions),
        Piece(
            "settings.json",
            "the settings of every process as this environment has them, secrets redacted",
            partial(in_thread, partial(_settings, environment)),
        ),
        Piece(
            "doctor.json",
            "what `soma doctor` found",
            partial(_examination, root, settings, local, clock),
            2 * CHECK_SECONDS,
        ),
        Piece(
            "topics.json",
            "our topics: partitions, leaders, replicas, configuration",
            partial(in_thread, partial(_topics, settings.kafka, settings.topics)),
        ),
        Piece("lag.json", "consumer groups: members, offsets and lag", partial(_lag, settings)),
        Piece(
            "database.json",
            "revision of the database, sizes and row estimates of its tables",
            partial(in_thread, partial(_database, settings.postgres)),
        ),
        *_metrics(root, settings, local),
        *(_logs(root.home) if local is not None else ()),
    ]


async def _versions() -> bytes:
    return as_json(
        {
            "python": sys.version,
            "system": platform.platform(),
            "libraries": {
                each.name: each.version for each in sorted(distributions(), key=lambda one: one.name)
            },
        }
    )


def _settings(environment: Mapping[str, str]) -> bytes:
    shown: dict[str, Any] = {}
    for process, settings in PROCESSES.items():
        try:
            effective = load(settings, environment=environment, known=KNOWN).effective
        except ConfigurationError as error:
            shown[process] = {"error": str(error)}
        else:
            shown[process] = {each.name: {"value": each.value, "from": each.origin} for each in effective}
    return as_json(shown)


async def _examination(
    root: Invocation, settings: OperatorSettings, local: ClientFile | None, clock: Clock
) -> bytes:
    async with open_checks(root, settings, local, clock) as checks:
        found = await examine(checks, lambda _names: None)
    return found.model_dump_json(indent=2).encode()


def _topics(kafka: KafkaSettings, topics: TopicSettings) -> bytes:
    admin = RenewableAdmin(kafka, "soma-support")
    try:
        cluster = admin.client.list_topics(timeout=ANSWER_SECONDS)
        ours = {topic.full_name(each) for each in epochs_of(cluster, topics).values() for topic in TOPICS}
        there = {name: topic for name, topic in cluster.topics.items() if name in ours}
        asked = admin.client.describe_configs(
            [ConfigResource(ResourceType.TOPIC, name) for name in there], request_timeout=ANSWER_SECONDS
        )
        configs = {resource.name: answer_of(each) for resource, each in asked.items()}
    finally:
        admin.close()
    return as_json(
        {
            name: {
                "partitions": {
                    number: {"leader": each.leader, "replicas": each.replicas, "in_sync": each.isrs}
                    for number, each in described.partitions.items()
                },
                "configuration": {key: entry.value for key, entry in configs[name].items()},
            }
            for name, described in there.items()
        }
    )


async def _lag(settings: OperatorSettings) -> bytes:
    async with open_lag_source(settings, LagSettings()) as look:
        return (await look()).model_dump_json(indent=2).encode()


def _database(settings: PostgresSettings) -> bytes:
    with told_in_words(settings), psycopg.connect(settings.conninfo()) as connection:
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        tables = connection.execute(
            "SELECT relname, pg_total_relation_size(relid), n_live_tup, n_dead_tup,"
            " greatest(last_vacuum, last_autovacuum), greatest(last_analyze, last_autoanalyze)"
            " FROM pg_stat_user_tables ORDER BY 2 DESC"
        ).fetchall()
        server = connection.info.parameter_status("server_version")
    names = ("table", "bytes", "rows", "dead_rows", "vacuumed", "analyzed")
    return as_json(
        {
            "server": server,
            "revision": None if revision is None else revision[0],
            "tables": [dict(zip(names, row, strict=True)) for row in tables],
        }
    )


def _metrics(root: Invocation, settings: OperatorSettings, local: ClientFile | None) -> Iterator[Piece]:
    places: dict[str, Connection] = {}
    if local is not None:
        ports = ports_of(root.home)
        places = {
            name: Connection(f"http://{LOOPBACK}:{ports[name]}", "") for name in _OUR_PORTS if name in ports
        } | {"api": Connection.of(local)}
    else:
        connection = api_connection(root, local)
        if connection is not None:
            places["api"] = connection
        if settings.collector.url is not None:
            places["lag"] = Connection(settings.collector.url, "")
    for name, place in places.items():
        yield Piece(f"metrics/{name}.txt", f"metrics of {name} at {place.url}", partial(_scrape, place))


async def _scrape(place: Connection) -> bytes:
    headers = {"Authorization": f"Bearer {place.api_key}"} if place.api_key else {}
    options = client_options(place.url, place.ca_file)
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, **options) as client:
        answer = await client.get(f"{place.url.rstrip('/')}/metrics", headers=headers)
    answer.raise_for_status()
    return answer.content


def _logs(home: Path) -> Iterator[Piece]:
    for name in _OUR_LOGS:
        path = home / "logs" / f"{name}.log"
        if path.exists():
            yield Piece(
                f"logs/{name}.log", f"the last lines of {name}", partial(asyncio.to_thread, _tail, path)
            )


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _LOG_BYTES))
        content = file.read()
    # The first line may be half of one.
    return content if size <= _LOG_BYTES else content.partition(b"\n")[2]
