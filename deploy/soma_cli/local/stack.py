"""The whole platform on one machine: third-party parts, then our processes, wired to each other."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from pydantic import BaseModel

from soma_api.settings import GatewaySettings
from soma_cli.handover import Handover, remove_handover
from soma_cli.local.arrangement import Arrangement
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.home import LOOPBACK, Home
from soma_cli.local.ours import OwnProcess
from soma_cli.local.part import Observer, Part, ignore
from soma_cli.local.parts import Parts
from soma_cli.local.postgres import Login
from soma_cli.local.process import hold
from soma_cli.local.supervision import Supervisor
from soma_schemas.clock import Clock
from soma_schemas.configuration import as_environment
from soma_schemas.errors import MismatchError
from soma_schemas.settings import (
    ENVIRONMENT_PREFIX,
    KafkaSettings,
    PostgresSettings,
    RegistrySettings,
    TopicSettings,
)

TENANT = "local"

# What somebody may tune in a local stack. Where its parts are is its own business.
_TUNABLE = tuple(
    f"{ENVIRONMENT_PREFIX}{part}__"
    for part in ("LOG", "LIMITS", "PRODUCER", "EMBEDDER", "API", "RETRY", "DELIVERY")
)


class _Places(BaseModel):
    """Where a process finds the parts."""

    kafka: KafkaSettings
    registry: RegistrySettings
    postgres: PostgresSettings


class _Watermarks(BaseModel):
    """How the vector worker logs in to PostgreSQL when the API's process holds it."""

    watermarks: PostgresSettings


class Stack:
    """Everything that runs for one home. Made by `open_stack`.

    Args:
        home: The folder, locked.
        artifacts: The cache with the parts' programs.
        clock: Measures how long things take.
        observe: Hears of every change of everything.
        environment: Variables with which somebody tunes our processes.
    """

    def __init__(
        self,
        home: Home,
        artifacts: Artifacts,
        clock: Clock,
        observe: Observer,
        environment: Mapping[str, str],
    ) -> None:
        self._home = home
        self._clock = clock
        self._supervisor = Supervisor(clock, observe)
        self._tuned = {name: value for name, value in environment.items() if name.startswith(_TUNABLE)}
        self.parts = Parts(home, artifacts, clock, self._supervisor.observe)
        self._arranged = Arrangement(home)
        self.worker = self._worker()
        self.api = self._api()
        self.api_key = ""

    @property
    def all(self) -> tuple[Part, ...]:
        """Everything, in the order in which it is stopped: who writes before what it writes to."""
        return self.api, self.worker, *self.parts.all

    @property
    def handover(self) -> Handover:
        """What commands on this machine need to know of it."""
        return Handover(
            url=self.api.address,
            api_key=self.api_key,
            tenant=TENANT,
            environment=as_environment(self._places(Login.OWNER)),
        )

    async def start(self) -> None:
        """Start everything, each as soon as what it needs is there.

        Kafka takes longest, and everybody needs it: what it takes to prepare the parts is loaded beside it.

        Raises:
            SomaError: The first that went wrong; the rest is left as it is.
        """
        try:
            async with asyncio.TaskGroup() as starting:
                postgres = starting.create_task(self.parts.postgres.start())
                kafka = starting.create_task(self._prepare_kafka())
                database = starting.create_task(self._prepare_database(postgres))
                registry = starting.create_task(self._prepare_registry(postgres))
                # Our processes wait for brokers and a registry that are away, so that on a home that is
                # arranged they load while those start; on another one they would find topics and schemas
                # missing, and end.
                needed = [database] if self._arranged.is_current() else [kafka, database, registry]
                for process in (self.worker, self.api):
                    starting.create_task(_start_after(needed, process))
        except BaseExceptionGroup as failures:
            # Whatever it was, the next start looks at everything again.
            self._arranged.forget()
            raise failures.exceptions[0] from None
        self._arranged.note()

    async def keep_running(self) -> None:
        """Restart what ends by itself, until cancelled.

        Raises:
            GaveUpError: Something ended again and again.
        """
        await self._supervisor.keep_running(self.all)

    async def stop(self) -> None:
        """Stop everything in order."""
        for part in self.all:
            await part.stop()

    async def _prepare_kafka(self) -> None:
        await self.parts.kafka.start()
        from soma_cli.topic_application import apply_visibly  # noqa: PLC0415  # see start
        from soma_schemas.topic_admin import open_admin  # noqa: PLC0415  # see start

        admin = open_admin(self.parts.kafka.settings())
        _, left = await apply_visibly(admin, TopicSettings(), self._clock)
        if left:
            raise MismatchError(
                "; ".join(str(difference) for difference in left),
                remedy=f"this home was made by another version: use that one, or delete {self._home.path}",
            )

    async def _prepare_registry(self, postgres: "asyncio.Task[None]") -> None:
        await self.parts.registry.fetch()
        await postgres
        await self.parts.registry.start()
        if not self._arranged.is_current():
            from soma_schemas.registry import open_registry, register_schemas  # noqa: PLC0415  # see start

            with open_registry(self.parts.registry.settings()) as registry:
                await asyncio.to_thread(register_schemas, registry, TopicSettings())

    async def _prepare_database(self, postgres: "asyncio.Task[None]") -> None:
        await postgres
        dsn = self.parts.postgres.dsn(Login.OWNER)
        if not self._arranged.is_current():
            await asyncio.to_thread(_migrate, dsn)
            await self.parts.postgres.grant_roles()
        from soma_cli.local.own_key import kept_key  # noqa: PLC0415  # see start

        path = self._home.folder("secrets") / "api-key"
        self.api_key = await asyncio.to_thread(kept_key, path, dsn, TENANT, self._clock.now())

    def _worker(self) -> OwnProcess:
        door = self._home.port("worker")
        return OwnProcess(
            "worker",
            self._home,
            self._clock,
            self._supervisor.observe,
            arguments=["work", "postgres"],
            environment={
                **self._tuned,
                **as_environment(self._places(Login.WORKER)),
                "SOMA_WORKER__PORT": str(door),
            },
            port=door,
        )

    def _api(self) -> OwnProcess:
        door = self._home.port("api", preferred=GatewaySettings.model_fields["port"].default)
        # Two logins in one process: the API's, and that of the vector worker inside it.
        watermarks = _Watermarks(watermarks=self.parts.postgres.settings(Login.WORKER))
        return OwnProcess(
            "api",
            self._home,
            self._clock,
            self._supervisor.observe,
            arguments=["serve", "--embedded-vectors", str(self._home.folder("vectors"))],
            environment={
                **self._tuned,
                **as_environment(self._places(Login.API)),
                **as_environment(watermarks),
                "SOMA_API__HOST": LOOPBACK,
                "SOMA_API__PORT": str(door),
                "SOMA_WORKER__PORT": str(self._home.port("api-worker")),
            },
            port=door,
        )

    def _places(self, login: Login) -> _Places:
        return _Places(
            kafka=self.parts.kafka.settings(),
            registry=self.parts.registry.settings(),
            postgres=self.parts.postgres.settings(login),
        )


async def _start_after(needed: Sequence["asyncio.Task[None]"], process: OwnProcess) -> None:
    for task in needed:
        await task
    await process.start()


def _migrate(dsn: str) -> None:
    # Alembic takes half a second to import, which only a start of another version needs.
    from soma_schemas.tables.migrations import migrate  # noqa: PLC0415  # see above

    migrate(dsn)


@asynccontextmanager
async def open_stack(
    home: Home,
    artifacts: Artifacts,
    clock: Clock,
    observe: Observer = ignore,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Stack]:
    """Run everything until the block ends; it answers requests when the block begins.

    Commands on this machine find it through its home meanwhile.

    Args:
        home: The folder with all data; locked meanwhile.
        artifacts: The cache with the parts' programs.
        clock: Measures how long things take.
        observe: Hears of every change of everything, a crash too.
        environment: Variables with which somebody tunes our processes.

    Raises:
        HomeInUseError: Another stack runs on this home.
        SomaError: Something could not be fetched or started; nothing is left running.
    """
    async with hold(home, clock):
        stack = Stack(home, artifacts, clock, observe, environment or {})
        try:
            await stack.start()
            stack.handover.write(home.path)
            yield stack
        finally:
            remove_handover(home.path)
            await stack.stop()
