"""A process that is not let in says why, with a code and a remedy, and ends: it does not try for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from conftest import Counting, SecureParts
from debian_postgres import PASSWORD, DebianPostgres, debian_postgres
from qdrant_server import QdrantServer
from soma_cli.local.postgres import Login
from soma_cli.local.security import RegistryUser
from soma_schemas.clock import SystemClock
from soma_schemas.errors import SomaError
from soma_schemas.kafka_access import Service
from soma_schemas.metrics import MetricSet
from soma_schemas.postgres_pool import open_pool
from soma_schemas.producer import DeliveryRefusedError, MemoryProducer, NewMemory
from soma_schemas.refusals import AccessError
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import (
    KafkaSettings,
    PostgresSettings,
    PublishingSettings,
    RegistrySettings,
    SecurityProtocol,
    TopicSettings,
    VectorSettings,
)
from soma_schemas.topic_admin import apply_topics, open_admin
from soma_schemas.vectors.server import behind, open_client
from soma_streams import workers
from soma_streams.checks import Waiting
from soma_streams.delivery.retry import Retry
from soma_streams.settings import PostgresWorkerSettings, RetrySettings, WorkerSettings
from tls_server import NOW, Fault, issued_with, serving

TOPICS = TopicSettings()
CODES = {
    Fault.UNKNOWN_AUTHORITY: "tls_unknown_authority",
    Fault.EXPIRED: "tls_certificate_expired",
    Fault.WRONG_HOST: "tls_wrong_host",
}
FAULTS = pytest.mark.parametrize("fault", list(Fault))


@pytest.fixture(scope="module", autouse=True)
def topics_and_schemas(secure_parts: SecureParts) -> None:
    """What a worker looks for when it starts."""
    with open_admin(secure_parts.parts.kafka.settings()) as admin:
        apply_topics(admin, TOPICS)
    with open_registry(secure_parts.parts.registry.settings()) as registry:
        register_schemas(registry, TOPICS)


def worker_settings(parts: SecureParts, **settings: Any) -> PostgresWorkerSettings:
    """Return settings of a worker that would be let in, but for what a test changes."""
    values: dict[str, Any] = {
        "kafka": parts.parts.kafka.settings(Service.POSTGRES_WORKER),
        "registry": parts.parts.registry.settings(RegistryUser.SERVICE),
        "postgres": parts.parts.postgres.settings(Login.WORKER),
        "topics": TOPICS,
        "worker": WorkerSettings.model_validate({"port": 0}),
    }
    return PostgresWorkerSettings(**(values | settings))


async def end_of_a_worker(settings: PostgresWorkerSettings) -> tuple[AccessError, list[str]]:
    """Run a worker until it ends by itself; return why, and what the log says of it."""
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            with pytest.raises(AccessError) as ended:
                await workers.work_postgres(
                    settings, clock=SystemClock(), random=Random(1), metrics=MetricSet(), stop=asyncio.Event()
                )
    return ended.value, [str(each.get("reason")) for each in logs]


def kafka(parts: SecureParts, **changes: Any) -> KafkaSettings:
    return parts.parts.kafka.settings(Service.POSTGRES_WORKER).model_copy(update=changes)


@FAULTS
async def test_a_worker_ends_with_what_is_wrong_with_the_brokers_certificate(
    fault: Fault, secure_parts: SecureParts, tmp_path: Path, counting: Counting
) -> None:
    trusted, shown = issued_with(fault, tmp_path)

    with serving(shown) as port:
        settings = kafka(secure_parts, bootstrap_servers=f"127.0.0.1:{port}", ssl_ca_file=trusted.file)
        ended, _ = await end_of_a_worker(worker_settings(secure_parts, kafka=settings))

    is_told(ended, CODES[fault], counting)


async def test_a_worker_ends_when_the_broker_speaks_tls_alone(
    secure_parts: SecureParts, counting: Counting
) -> None:
    address = secure_parts.parts.kafka.bootstrap
    ended, _ = await end_of_a_worker(
        worker_settings(secure_parts, kafka=KafkaSettings(bootstrap_servers=address))
    )

    is_told(ended, "tls_wanted", counting)


async def test_a_worker_ends_when_the_broker_speaks_no_tls(
    secure_parts: SecureParts, kafka_bootstrap: str, counting: Counting
) -> None:
    ended, _ = await end_of_a_worker(
        worker_settings(secure_parts, kafka=kafka(secure_parts, bootstrap_servers=kafka_bootstrap))
    )

    is_told(ended, "tls_not_spoken", counting)


async def test_a_worker_ends_when_its_password_is_wrong(
    secure_parts: SecureParts, counting: Counting
) -> None:
    ended, _ = await end_of_a_worker(
        worker_settings(secure_parts, kafka=kafka(secure_parts, sasl_password=SecretStr("wrong")))
    )

    is_told(ended, "credentials_refused", counting)


async def test_a_worker_ends_when_the_broker_wants_a_certificate(
    secure_parts: SecureParts, counting: Counting
) -> None:
    address = secure_parts.parts.kafka.settings().bootstrap_servers
    settings = KafkaSettings(
        bootstrap_servers=address,
        security_protocol=SecurityProtocol.SSL,
        ssl_ca_file=secure_parts.parts.kafka.settings().ssl_ca_file,
    )
    ended, _ = await end_of_a_worker(worker_settings(secure_parts, kafka=settings))

    is_told(ended, "tls_client_certificate", counting)


async def test_a_worker_ends_when_it_has_no_right_to_its_group(
    secure_parts: SecureParts, counting: Counting
) -> None:
    ended, logged = await end_of_a_worker(
        worker_settings(secure_parts, kafka=secure_parts.parts.kafka.settings(Service.VECTOR_WORKER))
    )

    is_told(ended, "not_allowed", counting)
    assert any("not_allowed" in each for each in logged)


@pytest.mark.parametrize("service", [Service.POSTGRES_WORKER, Service.LAG_COLLECTOR])
async def test_who_may_not_publish_is_told_so(
    service: Service, secure_parts: SecureParts, counting: Counting
) -> None:
    settings = PublishingSettings(
        kafka=secure_parts.parts.kafka.settings(service),
        registry=secure_parts.parts.registry.settings(RegistryUser.SERVICE),
    )
    async with MemoryProducer(settings, tenant="acme") as producer:
        with pytest.raises(DeliveryRefusedError) as refused:
            await producer.store_async(NewMemory(namespace="a", key="b", text="c"))

    assert refused.value.remedy
    counting("refusals that say what is wrong", 1)


@FAULTS
async def test_a_worker_ends_with_what_is_wrong_with_the_registrys_certificate(
    fault: Fault, secure_parts: SecureParts, tmp_path: Path, counting: Counting
) -> None:
    trusted, shown = issued_with(fault, tmp_path)

    with serving(shown) as port:
        settings = RegistrySettings(url=f"https://127.0.0.1:{port}", ca_file=trusted.file)
        ended, _ = await end_of_a_worker(worker_settings(secure_parts, registry=settings))

    is_told(ended, CODES[fault], counting)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"password": SecretStr("wrong")}, "credentials_refused"),
        ({"username": None, "password": None}, "credentials_refused"),
        ({"url": "http"}, "tls_wanted"),
    ],
    ids=["wrong password", "nobody", "plain text"],
)
async def test_a_worker_ends_when_the_registry_does_not_let_it_in(
    changes: dict[str, Any], code: str, secure_parts: SecureParts, counting: Counting
) -> None:
    right = secure_parts.parts.registry.settings(RegistryUser.SERVICE)
    if "url" in changes:
        changes = {"url": right.url.replace("https", "http")}

    ended, _ = await end_of_a_worker(worker_settings(secure_parts, registry=right.model_copy(update=changes)))

    is_told(ended, code, counting)


def test_a_process_may_not_write_to_the_registry(secure_parts: SecureParts, counting: Counting) -> None:
    settings = secure_parts.parts.registry.settings(RegistryUser.SERVICE)
    with open_registry(settings) as registry, pytest.raises(SomaError) as refused:
        register_schemas(registry, TopicSettings(prefix="other."))

    is_told(refused.value, "not_allowed", counting)


@asynccontextmanager
async def database(
    folder: Path, fault: Fault | None, *rules: str
) -> AsyncIterator[tuple[DebianPostgres, Path]]:
    """Run Debian's server, and yield it with whom clients trust."""
    trusted, shown = issued_with(fault, folder / "tls")
    opened = debian_postgres(shown, trusted, rules or ("hostssl all all all scram-sha-256",))
    server = await asyncio.to_thread(opened.__enter__)
    try:
        yield server, trusted.file
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


def reached(server: DebianPostgres, ca_file: Path | None, **changes: Any) -> PostgresSettings:
    values: dict[str, Any] = {
        "port": server.port,
        "user": server.user,
        "password": SecretStr(PASSWORD),
        "database": "postgres",
        "sslmode": "disable" if ca_file is None else "verify-full",
        "ca_file": ca_file,
    }
    return PostgresSettings(**(values | changes))


async def test_a_database_with_a_checked_host_name_lets_in_whom_it_knows(tmp_path: Path) -> None:
    asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    async with (
        database(tmp_path, None) as (server, ca_file),
        open_pool(reached(server, ca_file)) as pool,
        pool.connection() as connection,
    ):
        row = await (await connection.execute(asked)).fetchone()

    assert row == (True,)


@FAULTS
async def test_a_worker_ends_with_what_is_wrong_with_the_databases_certificate(
    fault: Fault, secure_parts: SecureParts, tmp_path: Path, counting: Counting
) -> None:
    async with database(tmp_path, fault) as (server, ca_file):
        ended, _ = await end_of_a_worker(worker_settings(secure_parts, postgres=reached(server, ca_file)))

    is_told(ended, CODES[fault], counting)


async def test_a_worker_ends_when_the_database_does_not_let_it_in(
    secure_parts: SecureParts, tmp_path: Path, counting: Counting
) -> None:
    async with database(tmp_path, None) as (server, ca_file):
        for settings, code in (
            (reached(server, ca_file, password=SecretStr("wrong")), "credentials_refused"),
            (reached(server, ca_file, user="nobody_of_that_name"), "credentials_refused"),
            (reached(server, None), "tls_wanted"),
        ):
            ended, _ = await end_of_a_worker(worker_settings(secure_parts, postgres=settings))
            is_told(ended, code, counting)


async def test_a_worker_ends_when_the_database_wants_a_certificate_and_works_with_one(
    secure_parts: SecureParts, tmp_path: Path, counting: Counting
) -> None:
    rule = "hostssl all all all scram-sha-256 clientcert=verify-ca"
    async with database(tmp_path, None, rule) as (server, ca_file):
        ended, _ = await end_of_a_worker(worker_settings(secure_parts, postgres=reached(server, ca_file)))
        trusted, _ = issued_with(None, tmp_path / "tls")
        ours = trusted.issue("postgres", NOW)
        shown = reached(server, ca_file, certificate_file=ours.certificate, key_file=ours.key)
        async with open_pool(shown) as pool, pool.connection() as connection:
            row = await (await connection.execute("SELECT 1")).fetchone()

    is_told(ended, "tls_client_certificate", counting)
    assert row == (1,)


async def test_a_pool_tells_of_a_refusal_that_comes_later(tmp_path: Path, counting: Counting) -> None:
    async with database(tmp_path, None) as (server, ca_file):
        wrong = reached(server, ca_file, password=SecretStr("wrong"))
        async with open_pool(wrong) as pool:
            with pytest.raises(AccessError) as refused:
                await pool.getconn()

    is_told(refused.value, "credentials_refused", counting)


@asynccontextmanager
async def index(folder: Path, fault: Fault | None) -> AsyncIterator[VectorSettings]:
    """Run the stand-in of a Qdrant server, and yield how it is reached."""
    trusted, shown = issued_with(fault, folder / "tls")
    server = QdrantServer(
        folder / "qdrant", api_key="right", tls=(shown.key.read_bytes(), shown.certificate.read_bytes())
    )
    await server.start()
    try:
        yield VectorSettings(url=server.url, api_key=SecretStr("right"), ca_file=trusted.file)
    finally:
        await server.stop()


async def looked_for(settings: VectorSettings) -> AccessError:
    """Look for the index as a worker does when it starts, and return why it ends."""
    # As a worker that starts does.
    retry = Retry(RetrySettings(refused_patience=timedelta(0)), SystemClock(), Random(1), Waiting())

    async def look() -> None:
        async with open_client(settings) as client:
            await retry("look for the index", lambda: behind(client, "memories"))

    async with asyncio.timeout(60):
        with pytest.raises(AccessError) as refused:
            await look()
    return refused.value


@FAULTS
async def test_what_is_wrong_with_the_certificate_of_the_index(
    fault: Fault, tmp_path: Path, counting: Counting
) -> None:
    async with index(tmp_path, fault) as settings:
        refused = await looked_for(settings)

    is_told(refused, CODES[fault], counting)


async def test_an_index_does_not_take_another_key(tmp_path: Path, counting: Counting) -> None:
    async with index(tmp_path, None) as settings:
        refused = await looked_for(settings.model_copy(update={"api_key": SecretStr("wrong")}))

    is_told(refused, "credentials_refused", counting)


def is_told(error: SomaError, code: str, counting: Counting) -> None:
    assert error.code == code
    assert error.remedy
    counting("refusals that say what is wrong", 1)
