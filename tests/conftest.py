"""The parts that tests run against: one real local stack for the whole session."""

import asyncio
import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Self, TypeVar

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import HealthCheck, settings
from psycopg import sql
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from caches import cache_folder
from containers.engine import open_engine
from containers.stand_in_images import provide_images
from parts import Parts
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.backing_services import BackingServices, open_backing_services
from soma_cli.local.home import Home
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.native_fields import ABSENCE
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import KafkaSettings, PublishingSettings, TopicSettings
from soma_schemas.tables.migrations import migrate
from soma_schemas.topic_admin import apply_topics, open_admin
from waiting import result_of

T = TypeVar("T")

# One machine, several processes: a slow example is no finding, and every run tries the same ones.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

# What a shell starts in the background ignores these, and so would the children that they are to stop.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

_prefixes = count(1)

# Where the third-party parts run: `local`, or `containers` of a Docker engine.
_STACK = os.environ.get("SOMA_TEST_STACK", "local")

# All tests but its own hold with the native extension and without it. A Qdrant server is in a container.
collect_ignore_glob = [
    *(["*/test_native*.py"] if ABSENCE else []),
    *(["*/test_qdrant_container.py"] if _STACK != "containers" else []),
]


def pytest_configure(config: pytest.Config) -> None:
    """Have a Docker engine with the images of the parts, where these run in containers."""
    if _STACK not in {"local", "containers"}:
        raise pytest.UsageError(f"SOMA_TEST_STACK is `{_STACK}`: it can be `local` or `containers`")
    if _STACK == "containers" and not hasattr(config, "workerinput"):
        opened = ExitStack()
        config.add_cleanup(opened.close)
        engine = opened.enter_context(open_engine(cache_folder() / "docker"))
        provide_images(engine)
        # Processes of pytest-xdist find the engine here. A container that removes others is not needed: each
        # part is removed by who started it.
        os.environ["DOCKER_HOST"] = engine.environment["DOCKER_HOST"]
        os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
        os.environ["TESTCONTAINERS_CONNECTION_MODE"] = "docker_host"
        os.environ["TESTCONTAINERS_HOST_OVERRIDE"] = "localhost"


def pytest_report_header() -> str:
    """Say with what the tests run."""
    return f"native extension: {ABSENCE or 'there'}; parts: {_STACK}"


def pytest_collection_finish() -> None:
    """Keep what was loaded out of every collection to come: it is large, and stays until the end."""
    gc.collect()
    gc.freeze()


# Folders whose files share a stack: in one process, so that it is started once, and ended with the last.
_ONE_STACK = ("tests/end_to_end/cli/", "tests/integration/secure/")


class _ByStack(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        shared = next((folder for folder in _ONE_STACK if nodeid.startswith(folder)), None)
        return shared or str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Keep what shares a stack together."""
    return _ByStack(config, log)


_COUNT = "count of "
# Adds so many of something to what the run prints at its end.
Counting = Callable[[str, int], None]


@pytest.fixture
def counting(record_property: Callable[[str, object], None]) -> Counting:
    """Count what a test tried, such as `counting("alerts that fired", 12)`."""
    return lambda what, number: record_property(_COUNT + what, number)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests that passed counted."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, number in report.user_properties:
            if name.startswith(_COUNT):
                counts[name.removeprefix(_COUNT)] += int(str(number))
    if counts:
        terminalreporter.section("what was tried")
        for what, number in sorted(counts.items()):
            terminalreporter.write_line(f"{number:>9,} {what}")


class LocalParts:
    """Kafka, registry and PostgreSQL, running in an event loop of their own thread.

    Args:
        home: Where their data is.
        cache: Where their programs are.
    """

    def __init__(self, home: Path, cache: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local-parts", daemon=True)
        self._home = home
        self._cache = cache

    def __enter__(self) -> Self:
        self._thread.start()
        self._context = self._open()
        self.parts: Parts = self.run(self._context.__aenter__())
        return self

    def _open(self) -> AbstractAsyncContextManager[Parts]:
        return open_backing_services(Home(self._home, Random()), Artifacts(self._cache), SystemClock())

    def __exit__(self, *error: object) -> None:
        self.run(self._context.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something with the parts, such as `run(stack.parts.kafka.kill())`."""
        return result_of(asyncio.run_coroutine_threadsafe(work, self._loop))


class SecureParts(LocalParts):
    """The same parts, where brokers and registry speak TLS, and let in only whom they know."""

    parts: BackingServices

    def _open(self) -> AbstractAsyncContextManager[BackingServices]:
        return open_backing_services(
            Home(self._home, Random()), Artifacts(self._cache), SystemClock(), secure=True
        )


class PartsInContainers(LocalParts):
    """The same parts, each in a container."""

    def _open(self) -> AbstractAsyncContextManager[Parts]:
        # Reads the environment when it is imported.
        from containers.parts import open_container_parts  # noqa: PLC0415

        return open_container_parts(self._home / "secrets")


@pytest.fixture(scope="session")
def local_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalParts]:
    """The third-party parts, with a migrated database."""
    kind = PartsInContainers if _STACK == "containers" else LocalParts
    with kind(tmp_path_factory.mktemp("stack") / "home", cache_folder()) as running:
        postgres = running.parts.postgres
        migrate(postgres.dsn(Login.OWNER))
        running.run(postgres.grant_roles())
        yield running


@pytest.fixture(scope="session")
def kafka_settings(local_parts: LocalParts) -> KafkaSettings:
    """The broker."""
    return local_parts.parts.kafka.settings()


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_settings: KafkaSettings) -> str:
    """The broker's address."""
    return kafka_settings.bootstrap_servers


@pytest.fixture(scope="session")
def admin(kafka_settings: KafkaSettings) -> AdminClient:
    """A client for administration of the broker."""
    return open_admin(kafka_settings)


@pytest.fixture
def topic_settings(local_parts: LocalParts, admin: AdminClient) -> TopicSettings:
    """Topics of this test alone, declared, with their schemas registered."""
    topics = TopicSettings(prefix=f"t{next(_prefixes)}.", partitions=3)
    apply_topics(admin, topics)
    with open_registry(local_parts.parts.registry.settings()) as registry:
        register_schemas(registry, topics)
    return topics


@pytest.fixture
def publishing_settings(local_parts: LocalParts, topic_settings: TopicSettings) -> PublishingSettings:
    """What a producer to this test's topics needs."""
    return PublishingSettings(
        kafka=local_parts.parts.kafka.settings(),
        registry=local_parts.parts.registry.settings(),
        topics=topic_settings,
    )


def _dsn(local_parts: LocalParts, login: Login) -> str:
    return local_parts.parts.postgres.dsn(login)


TABLES = (
    "memories",
    "memory_history",
    "memory_replays",
    "memory_links",
    "sink_watermarks",
    "dead_letters",
    "namespace_counts",
    "tenant_counts",
    "retention_policies",
    "erasures",
    "erasure_targets",
    "backups",
    "retention_notices",
    "outbox",
    "api_keys",
    "audit_log",
    "data_keys",
)
_FILLED = sql.SQL(" UNION ALL ").join(
    sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(sql.Literal(table), sql.Identifier(table))
    for table in TABLES
)


@pytest.fixture
def owner_dsn(local_parts: LocalParts) -> str:
    """The database's owner; the database is empty when a test begins."""
    dsn = _dsn(local_parts, Login.OWNER)
    with psycopg.connect(dsn) as connection:
        # A table without rows costs as much to truncate as any: it gets new files.
        if filled := [sql.Identifier(table) for (table,) in connection.execute(_FILLED)]:
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.SQL(", ").join(filled)))
    return dsn


@pytest.fixture
def worker_dsn(local_parts: LocalParts, owner_dsn: str) -> str:
    """The workers' login to the emptied database."""
    del owner_dsn
    return _dsn(local_parts, Login.WORKER)


@pytest.fixture
def api_dsn(local_parts: LocalParts, owner_dsn: str) -> str:
    """The API's login to the emptied database."""
    del owner_dsn
    return _dsn(local_parts, Login.API)
