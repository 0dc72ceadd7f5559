"""What tests need of Kafka, registry and PostgreSQL, wherever these run."""

from typing import Protocol

from soma_schemas.settings import KafkaSettings, PostgresSettings, RegistrySettings


class Part(Protocol):
    """One of them."""

    async def stop(self) -> None:
        """Stop it in order."""
        ...

    async def kill(self) -> None:
        """End it without warning."""
        ...

    async def start(self) -> None:
        """Start it again with what it had, and wait until it is ready."""
        ...


class Broker(Part, Protocol):
    """A broker."""

    @property
    def bootstrap(self) -> str:
        """What clients are configured with."""
        ...

    def settings(self) -> KafkaSettings:
        """Return what our processes need to reach it."""
        ...


class SchemaRegistry(Part, Protocol):
    """A schema registry."""

    @property
    def url(self) -> str:
        """Base URL of the Confluent-compatible API."""
        ...

    def settings(self) -> RegistrySettings:
        """Return what our processes need to reach it."""
        ...


class Database(Part, Protocol):
    """A PostgreSQL with the logins and databases that the platform expects."""

    port: int

    def password(self, login: str) -> str:
        """Return a login's password."""
        ...

    def dsn(self, login: str) -> str:
        """Return a login's connection URL."""
        ...

    def settings(self, login: str) -> PostgresSettings:
        """Return what a process of ours needs to log in."""
        ...

    async def arrange(self) -> None:
        """Make the databases that are missing."""
        ...

    async def grant_roles(self) -> None:
        """Give the logins the roles that the migrations made."""
        ...


class Parts(Protocol):
    """All of them."""

    @property
    def kafka(self) -> Broker:
        """The broker."""
        ...

    @property
    def registry(self) -> SchemaRegistry:
        """The registry."""
        ...

    @property
    def postgres(self) -> Database:
        """The database."""
        ...
