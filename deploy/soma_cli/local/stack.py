"""The whole platform on one machine: third-party parts, then our processes, wired to each other."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType

from pydantic import BaseModel

from soma_api.settings import GatewaySettings
from soma_cli.client_file import remove_client_file, write_client_file
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.backing_service import BackingService
from soma_cli.local.backing_services import BackingServices
from soma_cli.local.child_process import hold
from soma_cli.local.home import LOOPBACK, Home, write_private
from soma_cli.local.kafka import EMBEDDED
from soma_cli.local.master_key import master_key_file
from soma_cli.local.postgres import Login
from soma_cli.local.security import RegistryUser
from soma_cli.local.setup_record import SetupRecord
from soma_cli.local.signing_key import signing_key_file
from soma_cli.local.soma_process import SomaProcess
from soma_cli.local.supervision import Supervisor
from soma_cli.local.unit import Observer, Step, Unit, ignore
from soma_cli.settings import WatermarkLogin
from soma_cli.tasks import first_of, in_thread
from soma_client.client_file import ClientFile
from soma_schemas.clock import Clock
from soma_schemas.configuration import as_environment, secrets_in
from soma_schemas.errors import MismatchError
from soma_schemas.kafka_access import Service
from soma_schemas.lag import CollectorPlace
from soma_schemas.settings import (
    ENVIRONMENT_PREFIX,
    EncryptionSettings,
    KafkaSettings,
    RegistrySettings,
    TopicSettings,
)

TENANT = "local"

# What somebody may tune in a local stack. Where its parts are is its own business.
_TUNABLE = tuple(
    f"{ENVIRONMENT_PREFIX}{part}__"
    for part in (
        "LOG",
        "LIMITS",
        "PRODUCER",
        "EMBEDDER",
        "NEXT_EMBEDDER",
        "API",
        "RETRY",
        "DELIVERY",
        "RETENTION",
        "LAG",
        "TRACING",
    )
)

_WORK = {Service.POSTGRES_WORKER: "postgres", Service.RETENTION_WORKER: "retention"}

# What leads to an embedding endpoint elsewhere; what stays on this machine goes past every proxy.
_ROUTES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"})


class _Brokers(BaseModel):
    """Where a process that needs nothing else finds the brokers."""

    kafka: KafkaSettings


class _Publishing(BaseModel):
    """Where a program that publishes finds the brokers and the registry."""

    kafka: KafkaSettings
    registry: RegistrySettings


class _Collector(BaseModel):
    """Where commands and the API find the lag collector."""

    collector: CollectorPlace


class _Encryption(BaseModel):
    """Where the master key is."""

    encryption: EncryptionSettings


class _Watermarks(BaseModel):
    """How the vector worker logs in to PostgreSQL when the API's process holds it."""

    watermarks: WatermarkLogin


class Stack:
    """Everything that runs for one home. Made by `open_stack`.

    Args:
        home: The folder, locked.
        artifacts: The cache with the parts' programs.
        clock: Measures how long things take.
        observe: Hears of every change of everything.
        environment: Variables with which somebody tunes our processes.
        secure: Whether every hop but the database's is encrypted, and every process has a user of its own.
    """

    def __init__(
        self,
        home: Home,
        artifacts: Artifacts,
        clock: Clock,
        observe: Observer,
        environment: Mapping[str, str],
        *,
        secure: bool = False,
    ) -> None:
        self._home = home
        self._clock = clock
        self._observe = observe
        self._tuned = {
            name: value
            for name, value in environment.items()
            if name.startswith(_TUNABLE) or name.upper() in _ROUTES
        }
        self.parts = BackingServices(home, artifacts, clock, observe, secure=secure)
        self._encryption = as_environment(
            _Encryption(encryption=EncryptionSettings(master_key_file=master_key_file(home)))
        )
        self._arranged = SetupRecord(home)
        topics = Step("topics", observe, self._apply_topics, [self.parts.kafka])
        tables = Step("tables", observe, self._prepare_tables, [self.parts.postgres])
        key = Step("key", observe, self._keep_key, [tables])
        schemas = Step("schemas", observe, self._register_schemas, [self.parts.registry, self.parts.kafka])
        needs = [tables, topics, schemas]
        # Our processes wait for brokers and a registry that are away, so that on a home that is arranged they
        # load while those start; on another one they would find topics and schemas missing, and end.
        # Users are made by each start, as the home may have had none: before that nobody is let in.
        after = [tables] if self._arranged.is_current() and not secure else needs
        self.worker = self._worker("worker", Service.POSTGRES_WORKER, needs, after)
        self.retention = self._worker(
            "retention",
            Service.RETENTION_WORKER,
            needs,
            after,
            {"SOMA_ERASURE__SIGNING_KEY_FILE": str(signing_key_file(home))},
        )
        self.lag = self._lag_collector()
        self.api = self._api(needs, after)
        units = (*self.all, topics, tables, key, schemas)
        self._supervisor = Supervisor(units, clock)
        self._keeping: asyncio.Task[None] | None = None
        self.api_key = ""

    @property
    def all(self) -> tuple[BackingService, ...]:
        """Everything that runs, in the order in which it is stopped: who writes before what it writes to."""
        return self.api, self.retention, self.worker, self.lag, *self.parts.all

    @property
    def restarts(self) -> dict[str, int]:
        """How often each part and each step was started again, for those that were."""
        return dict(self._supervisor.restarts)

    @property
    def client_file(self) -> ClientFile:
        """What commands on this machine need to know of it."""
        return ClientFile(
            url=self.api.address,
            api_key=self.api_key,
            tenant=TENANT,
            environment={
                **as_environment(self.parts.places(Login.OWNER)),
                **self._collector(),
                **self._encryption,
            },
            publishing=as_environment(
                _Publishing(
                    kafka=self.parts.kafka.settings(Service.PRODUCER),
                    registry=self.parts.registry.settings(RegistryUser.SERVICE),
                )
            ),
            ca_file=None if self.parts.security is None else self.parts.security.ca_file,
        )

    async def start(self) -> None:
        """Start everything, each as soon as what it needs is there, and keep it up from then on.

        Raises:
            SomaError: The first that another start does not mend.
        """
        self._keeping = asyncio.create_task(self._supervisor.run(), name="supervisor")
        try:
            await first_of(self._supervisor.until_ready(), self.keep_running())
        except Exception:
            # Whatever it was, the next start looks at everything again.
            self._arranged.forget()
            raise
        self._arranged.note()

    async def keep_running(self) -> None:
        """Keep everything up until cancelled.

        Raises:
            SomaError: Something ended again and again, or cannot work.
        """
        if self._keeping is not None:
            await asyncio.shield(self._keeping)

    async def stop(self) -> None:
        """Stop everything in order; all at once, as a crash would, when this is cancelled."""
        try:
            if self._keeping is not None:
                self._keeping.cancel()
                await asyncio.gather(self._keeping, return_exceptions=True)
            for part in self.all:
                await part.stop()
        finally:
            for part in self.all:
                await part.kill()

    async def _apply_topics(self) -> None:
        from soma_cli.topic_application import apply_visibly  # noqa: PLC0415  # loaded while parts start
        from soma_schemas.topic_admin import open_admin  # noqa: PLC0415  # loaded while parts start

        admin = open_admin(self.parts.kafka.settings())
        _, left = await apply_visibly(admin, TopicSettings(), self._clock)
        if left:
            raise MismatchError(
                "; ".join(str(difference) for difference in left),
                remedy=f"this home was made by another version: use that one, or delete {self._home.path}",
            )

    async def _register_schemas(self) -> None:
        if not self._arranged.is_current():
            await in_thread(
                partial(register_released, self.parts.kafka.settings(), self.parts.registry.settings())
            )

    async def _prepare_tables(self) -> None:
        if not self._arranged.is_current():
            await in_thread(partial(_migrate, self.parts.postgres.dsn(Login.OWNER)))
            await self.parts.postgres.grant_roles()

    async def _keep_key(self) -> None:
        from soma_cli.local.local_api_key import local_api_key  # noqa: PLC0415  # loaded while parts start

        path, dsn = self._home.folder("secrets") / "api-key", self.parts.postgres.dsn(Login.OWNER)
        self.api_key = await in_thread(partial(local_api_key, path, dsn, TENANT, self._clock.now()))

    def _worker(
        self,
        name: str,
        service: Service,
        needs: Sequence[Unit],
        after: Sequence[Unit],
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> SomaProcess:
        door = self._home.port(name)
        return SomaProcess(
            name,
            self._home,
            self._clock,
            self._observe,
            arguments=["work", _WORK[service]],
            environment={
                **_one_of_its_groups(name),
                **self._tuned,
                **self._settings(name, self.parts.places(Login.WORKER, service, RegistryUser.SERVICE)),
                **self._encryption,
                "SOMA_WORKER__PORT": str(door),
                **more,
            },
            port=door,
            needs=needs,
            after=after,
        )

    def _lag_collector(self) -> SomaProcess:
        door = self._home.port("lag")
        return SomaProcess(
            "lag",
            self._home,
            self._clock,
            self._observe,
            arguments=["lag", "collect"],
            environment={
                **self._tuned,
                **self._settings("lag", _Brokers(kafka=self.parts.kafka.settings(Service.LAG_COLLECTOR))),
                "SOMA_LAG__HOST": LOOPBACK,
                "SOMA_LAG__PORT": str(door),
            },
            port=door,
            needs=[self.parts.kafka],
            after=[],
        )

    def _settings(self, process: str, *groups: BaseModel) -> dict[str, str]:
        """Return settings as variables; the secrets of a secure stack are files, which can be replaced."""
        settings = {name: value for group in groups for name, value in as_environment(group).items()}
        if self.parts.security is None:
            return settings
        folder = self._home.folder("secrets", "processes", process)
        secrets = frozenset[str]().union(*map(secrets_in, groups)) & settings.keys()
        for name in secrets:
            write_private(folder / name, settings[name] + "\n")
        shown = {name: value for name, value in settings.items() if name not in secrets}
        return {**shown, "SOMA_SECRETS_DIR": str(folder)}

    def _certificate(self) -> dict[str, str]:
        if self.parts.security is None:
            return {}
        shown = self.parts.security.certificate("api")
        return {
            "SOMA_API__TLS_CERTIFICATE_FILE": str(shown.certificate),
            "SOMA_API__TLS_KEY_FILE": str(shown.key),
        }

    def _collector(self) -> dict[str, str]:
        return as_environment(_Collector(collector=CollectorPlace(url=self.lag.address)))

    def _api(self, needs: Sequence[Unit], after: Sequence[Unit]) -> SomaProcess:
        door = self._home.port("api", preferred=GatewaySettings.model_fields["port"].default)
        # Two logins in one process: the API's, and that of the vector worker inside it.
        watermarks = _Watermarks(watermarks=WatermarkLogin.of(self.parts.postgres.settings(Login.WORKER)))
        return SomaProcess(
            "api",
            self._home,
            self._clock,
            self._observe,
            arguments=["serve", "--embedded-vectors", str(self._home.folder("vectors"))],
            environment={
                **_one_of_its_groups("api"),
                **self._tuned,
                **self._settings(
                    "api", self.parts.places(Login.API, EMBEDDED, RegistryUser.SERVICE), watermarks
                ),
                **self._encryption,
                **self._certificate(),
                "SOMA_API__HOST": LOOPBACK,
                "SOMA_API__PORT": str(door),
                "SOMA_WORKER__PORT": str(self._home.port("api-worker")),
                **self._collector(),
            },
            port=door,
            ca_file=None if self.parts.security is None else self.parts.security.ca_file,
            needs=needs,
            after=after,
        )


def _one_of_its_groups(name: str) -> dict[str, str]:
    # Nobody else is in its groups: after a crash it has its partitions back at once, not a session later.
    return {f"{ENVIRONMENT_PREFIX}DELIVERY__INSTANCE_ID": name}


def _migrate(dsn: str) -> None:
    # Alembic takes half a second to import, which only a start of another version needs.
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  # see above

    from soma_schemas.tables.migrations import migrate  # noqa: PLC0415  # see above

    try:
        migrate(dsn)
    except DBAPIError as error:
        # What the database said, in the words that tell whether it passes.
        raise error.orig or error from error


def register_released(kafka: KafkaSettings, registry: RegistrySettings) -> None:
    """Register every released schema for the topics of a local stack, also those of later epochs of its log.

    Raises:
        BrokerError: The brokers cannot be reached.
        RegistryError: The registry refuses one or cannot be reached.
    """
    from soma_schemas.log_epochs import epochs_of  # noqa: PLC0415  # loaded while parts start
    from soma_schemas.registry import open_registry, register_schemas  # noqa: PLC0415  # see above
    from soma_schemas.topic_admin import cluster_of, open_admin  # noqa: PLC0415  # see above

    declared = TopicSettings()
    with open_admin(kafka) as admin:
        epochs = epochs_of(cluster_of(admin), declared)
    with open_registry(registry) as client:
        # The first epoch's first, as they were registered: the registry counts its ids.
        for topics in {declared.epoch: declared, **epochs}.values():
            register_schemas(client, topics)


@asynccontextmanager
async def open_stack(
    home: Home,
    artifacts: Artifacts,
    clock: Clock,
    observe: Observer = ignore,
    environment: Mapping[str, str] | None = None,
    *,
    secure: bool = False,
) -> AsyncIterator[Stack]:
    """Run everything until the block ends; it answers requests when the block begins.

    Commands on this machine find it through its home meanwhile.

    Args:
        home: The folder with all data; locked meanwhile.
        artifacts: The cache with the parts' programs.
        clock: Measures how long things take.
        observe: Hears of every change of everything, a crash too.
        environment: Variables with which somebody tunes our processes.
        secure: Whether every hop but the database's is encrypted, and every process has a user of its own.

    Raises:
        HomeInUseError: Another stack runs on this home.
        SomaError: Something could not be fetched or started; nothing is left running.
    """
    async with hold(home, clock):
        stack = Stack(home, artifacts, clock, observe, environment or {}, secure=secure)
        try:
            await stack.start()
            write_client_file(home.path, stack.client_file)
            yield stack
        finally:
            remove_client_file(home.path)
            await stack.stop()
