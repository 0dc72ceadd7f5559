"""Apicurio Registry on loopback, with its data in the local PostgreSQL and Confluent's API in front."""

import httpx

from soma_cli.local.artifacts import Artifacts
from soma_cli.local.backing_service import BackingService
from soma_cli.local.bundles import REGISTRY
from soma_cli.local.child_process import Launch
from soma_cli.local.client_here import client_here
from soma_cli.local.home import LOOPBACK, Home, write_private
from soma_cli.local.java import ENVIRONMENT, JavaProgram
from soma_cli.local.postgres import Postgres
from soma_cli.local.security import RegistryUser, Security
from soma_cli.local.unit import Observer, PartState
from soma_schemas.clock import Clock
from soma_schemas.settings import RegistrySettings

_HEAP_MB = 128


class Registry(BackingService):
    """The schema registry.

    Args:
        home: Where its configuration and log are.
        artifacts: Where its program is.
        clock: Measures how long it takes.
        observe: Hears of its changes.
        postgres: Where it keeps schemas; must run before it starts.
        security: Certificates and users; without, everybody on this machine may write.
    """

    def __init__(
        self,
        home: Home,
        artifacts: Artifacts,
        clock: Clock,
        observe: Observer,
        postgres: Postgres,
        *,
        security: Security | None = None,
    ) -> None:
        super().__init__("registry", home, clock, observe, needs=[postgres])
        self._program = JavaProgram(artifacts, REGISTRY)
        self._scratch = home.folder("run", "registry.tmp")
        self._postgres = postgres
        self._security = security
        self._scheme = "http" if security is None else "https"
        self._port = home.port("registry")
        self._management_port = home.port("registry-management")

    @property
    def url(self) -> str:
        """Base URL of the Confluent-compatible API."""
        return f"{self._scheme}://{LOOPBACK}:{self._port}/apis/ccompat/v7"

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.url

    def settings(self, user: RegistryUser = RegistryUser.DEPLOYER) -> RegistrySettings:
        """Return what somebody needs to reach it."""
        return (
            RegistrySettings(url=self.url)
            if self._security is None
            else self._security.registry(self.url, user)
        )

    async def fetch(self) -> None:
        """Get the registry's program."""
        if not self._program.is_here:
            self.become(PartState.DOWNLOADING, self._program.label)
        await self._program.folder()

    async def prepare(self) -> Launch:
        """Write the configuration."""
        jar = await self._program.folder() / "quarkus-run.jar"
        lines = self._properties().items()
        # Quarkus reads it below its working directory.
        write_private(
            self._home.folder("registry", "config") / "application.properties",
            "".join(f"{name}={value}\n" for name, value in lines),
        )
        self._scratch = self._home.scratch(self.name)
        folder = self._home.folder("registry")
        return Launch(
            self.name,
            await self._program.command(
                "-jar", str(jar), heap_mb=_HEAP_MB, folder=folder, scratch=self._scratch, learn=True
            ),
            folder,
            ENVIRONMENT,
            log=self._home.log(self.name),
            pid_file=self._home.pid_file(self.name),
        )

    async def is_ready(self) -> bool:
        """Ask its management port, which also looks at the database."""
        if not self.listens_on(self._management_port):
            return False
        url = f"{self._scheme}://{LOOPBACK}:{self._management_port}/health/ready"
        ca_file = None if self._security is None else self._security.ca_file
        try:
            async with client_here(ca_file) as client:
                answer = await client.get(url)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    async def conclude(self) -> None:
        """Keep its classes for the next start."""
        await self._program.remember_classes(self._scratch)

    def _properties(self) -> dict[str, str]:
        return {
            "quarkus.http.host": LOOPBACK,
            "quarkus.http.port" if self._security is None else "quarkus.http.ssl-port": str(self._port),
            # By default it listens for everyone.
            "quarkus.management.host": LOOPBACK,
            "quarkus.management.port": str(self._management_port),
            "quarkus.http.io-threads": "2",
            "quarkus.http.access-log.enabled": "false",
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "postgresql",
            "apicurio.datasource.url": f"jdbc:postgresql://{LOOPBACK}:{self._postgres.port}/registry",
            "apicurio.datasource.username": "registry",
            "apicurio.datasource.password": self._postgres.password("registry"),
            "apicurio.datasource.jdbc.initial-size": "2",
            "apicurio.datasource.jdbc.min-size": "2",
            "apicurio.datasource.jdbc.max-size": "8",
            "apicurio.rules.global.compatibility": "FULL_TRANSITIVE",
            **({} if self._security is None else _secure_properties(self._security)),
        }


def _secure_properties(security: Security) -> dict[str, str]:
    shown = security.certificate("registry")
    users = {
        f"quarkus.security.users.embedded.{kind}.{user}": value
        for user in RegistryUser
        for kind, value in (("users", security.registry_password(user)), ("roles", user.role))
    }
    return {
        "quarkus.tls.key-store.pem.0.cert": str(shown.certificate),
        "quarkus.tls.key-store.pem.0.key": str(shown.key),
        # Certificates are short-lived: what was put in place of the files counts after this time.
        "quarkus.tls.reload-period": "10s",
        "quarkus.http.insecure-requests": "disabled",
        "quarkus.http.auth.basic": "true",
        "apicurio.authn.mechanism.priority": "basic",
        "quarkus.security.users.embedded.enabled": "true",
        "quarkus.security.users.embedded.plain-text": "true",
        "apicurio.auth.role-based-authorization": "true",
        "apicurio.auth.role-source": "token",
        **users,
    }
