"""Processes show the brokers tokens of an OpenID provider, and end where these do not let them in."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from caches import cache_folder
from conftest import SecureParts
from dead_letter_makers import Raw, RawLog
from identity_provider import IdentityProvider, TokenEndpoint
from oauth_brokers import brokers_that_take_tokens, by_token
from own_processes import SomaProcess, a_free_port
from soma_cli.local.postgres import Login
from soma_cli.local.security import RegistryUser
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import as_environment
from soma_schemas.groups import SinkGroup
from soma_schemas.kafka_access import Service
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.refusals import AccessError
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import KafkaSettings, PublishingSettings, TopicSettings
from soma_schemas.tables.migrations import migrate
from soma_schemas.topic_admin import BrokerError, apply_topics, open_admin, require_topics
from soma_streams import workers
from soma_streams.lag.broker_groups import BrokerGroups
from soma_streams.settings import PostgresWorkerSettings, WorkerSettings
from tls_server import Fault, issued_with
from waiting import eventually, eventually_now, eventually_so

TOPICS = TopicSettings()
GROUP = SinkGroup.POSTGRES.value
CODES = {
    "secret": "token_client_refused",
    "away": "token_endpoint_away",
    "no token": "token_endpoint_away",
    "audience": "token_not_accepted",
    "authority": "tls_unknown_authority",
}

Client = Callable[[Service], KafkaSettings]


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    """The OpenID provider whose tokens the brokers take."""
    with IdentityProvider() as running:
        yield running


@pytest.fixture(scope="module")
def secure_parts(
    provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecureParts]:
    """Parts of these tests alone: brokers that take tokens, and what a worker looks for when it starts."""
    home = tmp_path_factory.mktemp("secure") / "home"
    # An hour: brokers close the connection of whoever shows no new token when the one before has ended.
    with (
        brokers_that_take_tokens(provider, reauthenticate_ms=3_600_000),
        SecureParts(home, cache_folder()) as running,
    ):
        migrate(running.parts.postgres.dsn(Login.OWNER))
        running.run(running.parts.postgres.grant_roles())
        with open_admin(running.parts.kafka.settings()) as admin:
            apply_topics(admin, TOPICS)
        with open_registry(running.parts.registry.settings()) as registry:
            register_schemas(registry, TOPICS)
        yield running


@pytest.fixture
def endpoint(provider: IdentityProvider, tmp_path: Path) -> Iterator[TokenEndpoint]:
    """The token endpoint, over TLS."""
    _, shown = issued_with(None, tmp_path)
    with TokenEndpoint(provider, shown) as running:
        yield running


@pytest.fixture
def client(secure_parts: SecureParts, endpoint: TokenEndpoint, tmp_path: Path) -> Client:
    """How a service reaches the brokers by token."""
    trusted, _ = issued_with(None, tmp_path)

    def settings(service: Service) -> KafkaSettings:
        return by_token(secure_parts.parts.kafka.settings(service), service.value, endpoint, trusted.file)

    return settings


def publishing(parts: SecureParts, kafka: KafkaSettings) -> PublishingSettings:
    return PublishingSettings(
        kafka=kafka, registry=parts.parts.registry.settings(RegistryUser.SERVICE), topics=TOPICS
    )


def worker_settings(parts: SecureParts, kafka: KafkaSettings) -> PostgresWorkerSettings:
    return PostgresWorkerSettings(
        kafka=kafka,
        registry=parts.parts.registry.settings(RegistryUser.SERVICE),
        postgres=parts.parts.postgres.settings(Login.WORKER),
        topics=TOPICS,
        worker=WorkerSettings.model_validate({"port": 0}),
    )


@asynccontextmanager
async def working(settings: PostgresWorkerSettings) -> AsyncIterator[MetricSet]:
    """Run a worker until the block ends; what it has counted."""
    stop, metrics = asyncio.Event(), MetricSet()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            workers.work_postgres(settings, clock=SystemClock(), random=Random(1), metrics=metrics, stop=stop)
        )
        try:
            yield metrics
        finally:
            stop.set()


def counted(metrics: MetricSet, name: str) -> float:
    """Return the sum of a counter over its labels."""
    lines = metrics.exposition("").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def test_all_of_our_clients_log_in_by_token(
    secure_parts: SecureParts, endpoint: TokenEndpoint, client: Client
) -> None:
    collector = BrokerGroups(client(Service.LAG_COLLECTOR), GROUP.__eq__)
    scoped = client(Service.API).model_copy(update={"oauth_scope": "log:write"})
    with open_admin(client(Service.LAG_COLLECTOR)) as admin:
        require_topics(admin, TOPICS)
    async with working(worker_settings(secure_parts, client(Service.POSTGRES_WORKER))) as metrics:
        async with MemoryProducer(publishing(secure_parts, scoped), tenant="acme") as producer:
            for number in range(20):
                await producer.store_async(NewMemory(namespace="tokens", key=f"{number}", text="tea"))
        await eventually_so(lambda: counted(metrics, "soma_events_settled_total"), lambda count: count >= 20)
        # No event: the worker's own producer makes a dead letter of it.
        RawLog(publishing(secure_parts, secure_parts.parts.kafka.settings())).send([Raw(b"0", b"no event")])
        await eventually_so(lambda: counted(metrics, "soma_dead_letters_total"))
        seen = await eventually(collector.look, lambda seen: seen.groups[GROUP].members)
        await collector.close()

    assert len(seen.groups[GROUP].members or ()) == 1
    assert set(endpoint.scopes) == {None, "log:write"}


@pytest.mark.parametrize("wrong", CODES)
async def test_a_worker_ends_that_is_given_no_token_which_the_brokers_take(
    wrong: str, secure_parts: SecureParts, endpoint: TokenEndpoint, client: Client, tmp_path: Path
) -> None:
    kafka = client(Service.POSTGRES_WORKER)
    match wrong:
        case "secret":
            endpoint.clients[Service.POSTGRES_WORKER.value] = "another"
        case "away":
            kafka = kafka.model_copy(update={"oauth_token_url": f"https://127.0.0.1:{a_free_port()}/token"})
        case "no token":
            endpoint.status = 503
        case "audience":
            endpoint.claims = {"aud": "another"}
        case "authority":
            trusted, _ = issued_with(Fault.UNKNOWN_AUTHORITY, tmp_path / "other")
            kafka = kafka.model_copy(update={"oauth_ca_file": trusted.file})

    async with asyncio.timeout(60):
        with pytest.raises(AccessError) as ended:
            await workers.work_postgres(
                worker_settings(secure_parts, kafka),
                clock=SystemClock(),
                random=Random(1),
                metrics=MetricSet(),
                stop=asyncio.Event(),
            )

    assert ended.value.code == CODES[wrong]
    assert ended.value.remedy
    assert "secret of" not in str(ended.value)


async def test_a_command_says_why_the_brokers_do_not_let_it_in(
    endpoint: TokenEndpoint, client: Client
) -> None:
    kafka = client(Service.API)
    endpoint.clients[Service.API.value] = "another"

    with open_admin(kafka) as admin, pytest.raises(BrokerError) as refused:
        require_topics(admin, TOPICS)

    assert refused.value.code == "token_client_refused"


@pytest.mark.long
async def test_tokens_that_end_are_renewed_and_nothing_is_lost(
    secure_parts: SecureParts, endpoint: TokenEndpoint, client: Client
) -> None:
    # Brokers close the connection of whoever shows no new token in time.
    endpoint.life_seconds = 8
    api, worker = client(Service.API), client(Service.POSTGRES_WORKER)
    async with working(worker_settings(secure_parts, worker)) as metrics:
        async with MemoryProducer(publishing(secure_parts, api), tenant="acme") as producer:
            stored = 0
            while len(endpoint.scopes) < 12:
                await producer.store_async(NewMemory(namespace="tokens", key=f"ends-{stored}", text="tea"))
                stored += 1
        await eventually_so(
            lambda: counted(metrics, "soma_events_settled_total"), lambda count: count >= stored
        )

        assert counted(metrics, "soma_rebalances_total") <= 2


@pytest.mark.long
def test_a_worker_that_runs_ends_when_it_is_given_tokens_no_more(
    secure_parts: SecureParts, endpoint: TokenEndpoint, client: Client, tmp_path: Path
) -> None:
    endpoint.life_seconds = 8
    port, log = a_free_port(), tmp_path / "worker.log"
    variables = {
        **as_environment(worker_settings(secure_parts, client(Service.POSTGRES_WORKER))),
        "SOMA_WORKER__PORT": str(port),
        "SOMA_RETRY__REFUSED_PATIENCE": "5",
    }
    worker = SomaProcess(["work", "postgres"], variables, port, log)
    worker.start()
    endpoint.clients[Service.POSTGRES_WORKER.value] = "another"

    assert eventually_now(lambda: worker.exit_code, lambda code: code is not None, seconds=180) != 0
    assert "token_client_refused" in log.read_text()
    assert "secret of" not in log.read_text()
