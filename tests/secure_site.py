"""Everything as in production, on TLS and with rights of its own: processes, and what they speak to."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from psycopg import sql
from pydantic import BaseModel, SecretStr

from conftest import SecureParts
from own_processes import SomaProcess, a_free_port
from qdrant_server import QdrantServer
from soma_cli.local.broker_users import apply_users
from soma_cli.local.certificates import Issued
from soma_cli.local.home import write_private
from soma_cli.local.local_api_key import local_api_key
from soma_cli.local.postgres import Login
from soma_cli.local.security import RegistryUser, Security
from soma_client.connection import Connection
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import as_environment, secrets_in
from soma_schemas.http_clients import client_options
from soma_schemas.kafka_access import Service
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import (
    KafkaSettings,
    PostgresSettings,
    RegistrySettings,
    TopicSettings,
    VectorSettings,
)
from soma_schemas.tls import RotatingContext, TlsFiles
from soma_schemas.topic_admin import apply_topics, open_admin
from tls_relay import TlsRelay

TENANT = "acme"
QDRANT_KEY = "first-key-of-the-index"


class _Settings(BaseModel):
    kafka: KafkaSettings
    registry: RegistrySettings
    postgres: PostgresSettings
    vectors: VectorSettings


class _Brokers(BaseModel):
    kafka: KafkaSettings


@dataclass
class SecureSite:
    """What runs, and how to reach it.

    Attributes:
        processes: By their services.
    """

    parts: SecureParts
    folder: Path
    relay: TlsRelay
    qdrant: QdrantServer
    processes: dict[Service, SomaProcess] = field(default_factory=dict)

    @property
    def security(self) -> Security:
        """Certificates and passwords."""
        security = self.parts.parts.security
        assert security is not None
        return security

    @property
    def ca_file(self) -> Path:
        """Who signed everything."""
        return self.security.ca_file

    def deployer(self) -> KafkaSettings:
        """Who may do anything on the brokers."""
        return self.parts.parts.kafka.settings()

    def kafka(self, service: Service) -> KafkaSettings:
        """How a service reaches the brokers: the lag collector by a certificate, the others by a password."""
        if service is Service.LAG_COLLECTOR:
            address = self.deployer().bootstrap_servers
            return self.security.kafka_by_certificate(address, Service.LAG_COLLECTOR)
        return self.parts.parts.kafka.settings(service)

    def registry(self, user: RegistryUser = RegistryUser.SERVICE) -> RegistrySettings:
        """How somebody reaches the registry."""
        return self.parts.parts.registry.settings(user)

    def postgres(self, login: Login) -> PostgresSettings:
        """How a login reaches the database: with its host name checked."""
        plain = self.parts.parts.postgres.settings(login)
        return plain.model_copy(
            update={"port": self.relay.port, "sslmode": "verify-full", "ca_file": self.ca_file}
        )

    def vectors(self) -> VectorSettings:
        """How a process reaches the index."""
        return VectorSettings(url=self.qdrant.url, api_key=SecretStr(QDRANT_KEY), ca_file=self.ca_file)

    def connection(self) -> Connection:
        """How clients reach the API."""
        owner = self.parts.parts.postgres.dsn(Login.OWNER)
        key = local_api_key(self.folder / "api-key", owner, TENANT, SystemClock().now())
        return Connection(self.processes[Service.API].url, key, self.ca_file)

    def client(self) -> httpx.Client:
        """Return a client of the API, which knows its authority; close it."""
        connection = self.connection()
        return httpx.Client(
            base_url=connection.url,
            headers={"Authorization": f"Bearer {connection.api_key}"},
            timeout=30,
            **client_options(connection.url, connection.ca_file),
        )

    def settings(self, service: Service, login: Login) -> dict[str, str]:
        """Return the variables of a process; its secrets are files that can be replaced."""
        return self.with_secret_files(
            service,
            _Settings(
                kafka=self.kafka(service),
                registry=self.registry(),
                postgres=self.postgres(login),
                vectors=self.vectors(),
            ),
        )

    def secret_file(self, service: Service, name: str) -> Path:
        """Return the file with a secret of a process."""
        return self.folder / service / name

    def with_secret_files(self, service: Service, settings: BaseModel) -> dict[str, str]:
        """Return settings as variables, with the secrets in files."""
        variables = as_environment(settings)
        (self.folder / service).mkdir(mode=0o700, exist_ok=True)
        for name in secrets_in(settings) & variables.keys():
            write_private(self.secret_file(service, name), variables.pop(name) + "\n")
        return {**variables, "SOMA_SECRETS_DIR": str(self.folder / service)}

    def start(self, service: Service, arguments: list[str], variables: Mapping[str, str], port: int) -> None:
        """Launch a process; `wait` waits for all of them."""
        https = service is Service.API
        process = SomaProcess(
            arguments,
            variables,
            port,
            self.folder / f"{service}.log",
            ca_file=self.ca_file if https else None,
        )
        process.launch()
        self.processes[service] = process

    def log(self, service: Service) -> str:
        """Return what a process has said."""
        return (self.folder / f"{service}.log").read_text()

    def replace_kafka_password(self, service: Service, password: str) -> None:
        """Give a service another password, first on the brokers and then in its file."""
        # Where a broker that starts again finds it.
        write_private(self.parts.parts.kafka._home.folder("secrets") / f"kafka-{service}", password + "\n")
        with open_admin(self.deployer()) as admin:
            apply_users(admin, {service: password})
        write_private(self.secret_file(service, "SOMA_KAFKA__SASL_PASSWORD"), password + "\n")

    def replace_postgres_password(self, login: Login, password: str, *services: Service) -> None:
        """Give a login another password, first in the database and then in the files of its processes."""
        with psycopg.connect(self.parts.parts.postgres.dsn(Login.ADMIN), autocommit=True) as admin:
            verifier = admin.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256")
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
            admin.execute(statement.format(sql.Identifier(login), sql.Literal(verifier.decode())))
        for service in services:
            write_private(self.secret_file(service, "SOMA_POSTGRES__PASSWORD"), password + "\n")

    def renew_certificate(self, name: str) -> Issued:
        """Issue a certificate anew, in the same files."""
        return self.security.authority.issue(name, SystemClock().now(), anew=True)


@contextmanager
def open_secure_site(parts: SecureParts, folder: Path) -> Iterator[SecureSite]:
    """Run everything until the block ends."""
    security = parts.parts.security
    assert security is not None
    database, index = security.certificate("postgres"), security.certificate("qdrant")
    context = RotatingContext.of_server(TlsFiles(certificate=database.certificate, key=database.key))
    relay = TlsRelay(context, parts.parts.postgres.port)
    qdrant = QdrantServer(
        folder / "qdrant", api_key=QDRANT_KEY, tls=(index.key.read_bytes(), index.certificate.read_bytes())
    )
    with ExitStack() as opened:
        parts.run(relay.start())
        opened.callback(lambda: parts.run(relay.stop()))
        parts.run(qdrant.start())
        opened.callback(lambda: parts.run(qdrant.stop()))
        site = SecureSite(parts, folder, relay, qdrant)
        with open_admin(site.deployer()) as admin:
            apply_topics(admin, TopicSettings())
        with open_registry(site.registry(RegistryUser.DEPLOYER)) as registry:
            register_schemas(registry, TopicSettings())
        _start_all(site)
        for process in site.processes.values():
            opened.callback(process.end_if_it_runs)
        for process in site.processes.values():
            process.wait()
        yield site


def _start_all(site: SecureSite) -> None:
    lag = a_free_port()
    collector = site.with_secret_files(
        Service.LAG_COLLECTOR, _Brokers(kafka=site.kafka(Service.LAG_COLLECTOR))
    )
    site.start(Service.LAG_COLLECTOR, ["lag", "collect"], {**collector, "SOMA_LAG__PORT": str(lag)}, lag)
    port = lag
    for service, name in (
        (Service.POSTGRES_WORKER, "postgres"),
        (Service.VECTOR_WORKER, "vectors"),
        (Service.RETENTION_WORKER, "retention"),
    ):
        port = a_free_port(port)
        variables = site.settings(service, Login.WORKER) | {"SOMA_WORKER__PORT": str(port)}
        site.start(service, ["work", name], variables, port)
    port = a_free_port(port)
    shown = site.security.certificate("api")
    variables = site.settings(Service.API, Login.API) | {
        "SOMA_API__PORT": str(port),
        "SOMA_API__TLS_CERTIFICATE_FILE": str(shown.certificate),
        "SOMA_API__TLS_KEY_FILE": str(shown.key),
        "SOMA_COLLECTOR__URL": f"http://127.0.0.1:{lag}",
    }
    site.start(Service.API, ["serve"], variables, port)
