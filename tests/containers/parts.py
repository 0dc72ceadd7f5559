"""Kafka, registry, PostgreSQL and Qdrant in containers, of the images that docker-compose.yml names."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml
from confluent_kafka import KafkaException
from pydantic import SecretStr
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from own_processes import a_free_port
from soma_cli.local.home import LOOPBACK
from soma_cli.local.postgres import Login
from soma_schemas.settings import KafkaSettings, PostgresSettings, RegistrySettings, VectorSettings
from soma_schemas.topic_admin import open_admin
from waiting import eventually_now

_ROOT = Path(__file__).parents[2]
_COMPOSE = yaml.safe_load((_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
_LOGINS = _ROOT / "deploy" / "images" / "postgres-logins.sh"
_START_SECONDS = 180.0
_STOP_SECONDS = 60

# As the local stack has it: what tests hold it to does not depend on where it runs.
_POSTGRES_OPTIONS = ("-c", "jit=off", "-c", "timezone=UTC", "-c", "log_min_error_statement=panic")
_INITDB = "--encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C"
_KAFKA = {
    "CLUSTER_ID": "c29tYS1tZW1vcnktbG9nMQ",
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
    "KAFKA_LISTENERS": "CLIENT://:9092,INTERNAL://localhost:9094,CONTROLLER://localhost:9093",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_DEFAULT_REPLICATION_FACTOR": "1",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "3",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "3",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
    "KAFKA_HEAP_OPTS": "-Xmx256m",
}


def image(service: str) -> str:
    """Return the image of a service of docker-compose.yml."""
    return str(_COMPOSE["services"][service]["image"])


class _Part:
    """What runs in one container, on a port that it keeps."""

    def __init__(self, container: DockerContainer, ready: Callable[[], bool]) -> None:
        self._container = container
        self._ready = ready

    async def stop(self) -> None:
        """Stop it in order."""
        self._container.get_wrapped_container().stop(timeout=_STOP_SECONDS)

    async def kill(self) -> None:
        """End it without warning."""
        self._container.get_wrapped_container().kill()

    async def start(self) -> None:
        """Start it again with what it had, and wait until it is ready."""
        self._container.get_wrapped_container().start()
        self.wait()

    def wait(self) -> None:
        """Wait until it is ready."""
        eventually_now(self._ready, seconds=_START_SECONDS)


class ContainerKafka(_Part):
    """The broker."""

    def __init__(self, container: DockerContainer, bootstrap: str) -> None:
        super().__init__(container, self._answers)
        self.bootstrap = bootstrap
        self._admin = open_admin(self.settings())

    def settings(self) -> KafkaSettings:
        """Return what our processes need to reach it."""
        return KafkaSettings(bootstrap_servers=self.bootstrap)

    def _answers(self) -> bool:
        try:
            return bool(self._admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return False


class ContainerRegistry(_Part):
    """The schema registry."""

    def __init__(self, container: DockerContainer, url: str, health: str) -> None:
        super().__init__(container, lambda: _is_ok(health))
        self.url = url

    def settings(self) -> RegistrySettings:
        """Return what our processes need to reach it."""
        return RegistrySettings(url=self.url)


class ContainerPostgres(_Part):
    """The database server."""

    def __init__(self, container: DockerContainer, port: int, passwords: Mapping[Login, str]) -> None:
        super().__init__(container, self._lets_in)
        self.port = port
        self._passwords = passwords

    def password(self, login: str) -> str:
        """Return a login's password."""
        return self._passwords[Login(login)]

    def dsn(self, login: str) -> str:
        """Return a login's connection URL."""
        settings = self.settings(login)
        where = f"{LOOPBACK}:{self.port}/{settings.database}"
        return f"postgresql://{login}:{self.password(login)}@{where}"

    def settings(self, login: str) -> PostgresSettings:
        """Return what a process of ours needs to log in."""
        other = {Login.ADMIN: "postgres", Login.REGISTRY: "registry"}
        return PostgresSettings(
            host=LOOPBACK,
            port=self.port,
            database=other.get(Login(login), "soma"),
            user=login,
            password=SecretStr(self.password(login)),
            sslmode="disable",
        )

    async def arrange(self) -> None:
        """Make the database that a test has dropped."""
        async with await psycopg.AsyncConnection.connect(self.dsn(Login.ADMIN), autocommit=True) as admin:
            await admin.execute("CREATE DATABASE soma OWNER soma_owner")
            await admin.execute("REVOKE CONNECT ON DATABASE soma FROM PUBLIC")
            await admin.execute("GRANT CONNECT ON DATABASE soma TO soma_worker, soma_api")

    async def grant_roles(self) -> None:
        """Give the logins the roles that the migrations made."""
        async with await psycopg.AsyncConnection.connect(self.dsn(Login.ADMIN), autocommit=True) as admin:
            await admin.execute("GRANT soma_sinks TO soma_worker")
            await admin.execute("GRANT soma_readers TO soma_api")

    def _lets_in(self) -> bool:
        try:
            psycopg.connect(self.dsn(Login.ADMIN), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@dataclass(frozen=True)
class ContainerParts:
    """All of them."""

    kafka: ContainerKafka
    registry: ContainerRegistry
    postgres: ContainerPostgres


@asynccontextmanager
async def open_container_parts(folder: Path) -> AsyncIterator[ContainerParts]:
    """Run a broker, a registry and a database server in containers until the block ends."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        postgres = stack.enter_context(_postgres(folder, network))
        kafka = stack.enter_context(_kafka())
        yield ContainerParts(kafka, stack.enter_context(_registry(network, postgres)), postgres)


@contextmanager
def qdrant_container() -> Iterator[VectorSettings]:
    """Run a Qdrant server until the block ends."""
    port, key = a_free_port(), secrets.token_hex()
    container = DockerContainer(image("qdrant"))
    container.with_env("QDRANT__SERVICE__API_KEY", key).with_env("QDRANT__TELEMETRY_DISABLED", "true")
    ready = a_free_port(port)
    _publish(container, {6334: port, 6333: ready})
    with container:
        eventually_now(lambda: _is_ok(f"http://{LOOPBACK}:{ready}/readyz"), seconds=_START_SECONDS)
        yield VectorSettings(url=f"http://{LOOPBACK}:{port}", api_key=SecretStr(key))


@contextmanager
def _kafka() -> Iterator[ContainerKafka]:
    port = a_free_port()
    container = DockerContainer(image("kafka-1"))
    _publish(container, {9092: port})
    advertised = f"CLIENT://{LOOPBACK}:{port},INTERNAL://localhost:9094"
    for name, value in {**_KAFKA, "KAFKA_ADVERTISED_LISTENERS": advertised}.items():
        container.with_env(name, value)
    with container:
        kafka = ContainerKafka(container, f"{LOOPBACK}:{port}")
        kafka.wait()
        yield kafka


@contextmanager
def _postgres(folder: Path, network: Network) -> Iterator[ContainerPostgres]:
    passwords = {login: secrets.token_hex() for login in Login}
    files = {
        "postgres_password": passwords[Login.ADMIN],
        "owner_password": passwords[Login.OWNER],
        "worker_password": passwords[Login.WORKER],
        "api_password": passwords[Login.API],
        "registry.properties": f"apicurio.datasource.password={passwords[Login.REGISTRY]}",
    }
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content + "\n", encoding="ascii")
    port = a_free_port()
    container = DockerContainer(image("postgres"))
    _publish(container, {5432: port})
    container.with_network(network).with_network_aliases("postgres")
    container.with_volume_mapping(str(folder), "/run/secrets")
    container.with_volume_mapping(str(_LOGINS), "/docker-entrypoint-initdb.d/10-logins.sh")
    container.with_env("POSTGRES_USER", Login.ADMIN).with_env("POSTGRES_INITDB_ARGS", _INITDB)
    container.with_env("POSTGRES_PASSWORD_FILE", "/run/secrets/postgres_password")
    with container.with_command(["postgres", *_POSTGRES_OPTIONS]):
        postgres = ContainerPostgres(container, port, passwords)
        postgres.wait()
        yield postgres


@contextmanager
def _registry(network: Network, postgres: ContainerPostgres) -> Iterator[ContainerRegistry]:
    port = a_free_port()
    management = a_free_port(port)
    container = DockerContainer(image("registry"))
    _publish(container, {8080: port, 9000: management})
    container.with_network(network)
    for name, value in {
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "postgresql",
        "APICURIO_DATASOURCE_URL": "jdbc:postgresql://postgres/registry",
        "APICURIO_DATASOURCE_USERNAME": Login.REGISTRY.value,
        "APICURIO_DATASOURCE_PASSWORD": postgres.password(Login.REGISTRY),
        "APICURIO_RULES_GLOBAL_COMPATIBILITY": "FULL_TRANSITIVE",
    }.items():
        container.with_env(name, value)
    with container:
        health = f"http://{LOOPBACK}:{management}/health/ready"
        registry = ContainerRegistry(container, f"http://{LOOPBACK}:{port}/apis/ccompat/v7", health)
        registry.wait()
        yield registry


def _publish(container: DockerContainer, ports: Mapping[int, int]) -> None:
    """Let this machine alone reach ports of a container."""
    published: dict[Any, Any] = container.ports
    published.update({inside: (LOOPBACK, port) for inside, port in ports.items()})


def _is_ok(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
