"""Brokers that are shown OAuth tokens: everything goes by token, and what goes wrong has a name."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psycopg
import pytest
from pydantic import SecretStr

from caches import cache_folder
from conftest import Counting, LocalParts
from dead_letter_makers import Raw, RawLog
from identity_provider import AUDIENCE
from oauth_broker import OAuthSite, open_oauth_site, secret_of
from own_processes import postgres_worker
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.groups import SinkGroup
from soma_schemas.kafka_access import Service
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.refusals import AccessError
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import KafkaSettings, PublishingSettings, TopicSettings
from soma_schemas.topic_admin import BrokerAccessError, apply_topics, open_admin, require_topics
from soma_streams import workers
from soma_streams.lag.broker_groups import BrokerGroups
from soma_streams.settings import PostgresWorkerSettings, WorkerSettings
from waiting import eventually, eventually_now

TOPICS = TopicSettings(partitions=3)
# Of a token that is renewed while a test looks on; brokers want one again after four seconds at most.
SHORT_LIFE = 5
CLIENTS_OF_A_WORKER = 8
CLIENT_SECRET = "SOMA_KAFKA__OAUTH_CLIENT_SECRET"


@pytest.fixture(scope="module")
def site(local_parts: LocalParts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthSite]:
    """One broker for all of these tests."""
    folder = tmp_path_factory.mktemp("oauth")
    with pytest.MonkeyPatch.context() as patch:
        # librdkafka would ask a proxy for what is on this machine.
        patch.setenv("NO_PROXY", "127.0.0.1")
        with open_oauth_site(local_parts, folder / "home", cache_folder()) as opened:
            with open_admin(opened.broker.settings()) as admin:
                apply_topics(admin, TOPICS)
            with open_registry(local_parts.parts.registry.settings()) as registry:
                register_schemas(registry, TOPICS)
            yield opened


@pytest.fixture(autouse=True)
def as_usual(site: OAuthSite) -> Iterator[None]:
    """Have the endpoint answer as usual again."""
    usual = dict(site.endpoint.secrets)
    yield
    endpoint = site.endpoint
    endpoint.secrets, endpoint.lasts, endpoint.away, endpoint.audience = usual, 300, False, AUDIENCE


def worker_settings(parts: LocalParts, kafka: KafkaSettings) -> PostgresWorkerSettings:
    return PostgresWorkerSettings(
        kafka=kafka,
        registry=parts.parts.registry.settings(),
        postgres=parts.parts.postgres.settings(Login.WORKER),
        topics=TOPICS,
        worker=WorkerSettings.model_validate({"port": 0}),
    )


async def end_of_a_worker(settings: PostgresWorkerSettings) -> AccessError:
    """Run a worker until it ends by itself, and return why."""
    async with asyncio.timeout(60):
        with pytest.raises(AccessError) as ended:
            await workers.work_postgres(
                settings, clock=SystemClock(), random=Random(1), metrics=MetricSet(), stop=asyncio.Event()
            )
    return ended.value


def publishing(parts: LocalParts, kafka: KafkaSettings) -> PublishingSettings:
    return PublishingSettings(kafka=kafka, registry=parts.parts.registry.settings(), topics=TOPICS)


async def keys_in(dsn: str) -> set[str]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = await (await connection.execute("SELECT key FROM memories")).fetchall()
    return {key for (key,) in rows}


async def letters_in(dsn: str) -> int:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        row = await (await connection.execute("SELECT count(*) FROM dead_letters")).fetchone()
    return 0 if row is None else int(row[0])


async def test_everything_goes_by_token_and_goes_on_when_tokens_and_secrets_are_renewed(
    site: OAuthSite, local_parts: LocalParts, owner_dsn: str, tmp_path: Path, counting: Counting
) -> None:
    clock, endpoint, service = SystemClock(), site.endpoint, Service.POSTGRES_WORKER
    endpoint.lasts = SHORT_LIFE
    (secret_file := tmp_path / CLIENT_SECRET).write_text(secret_of(service))
    began = clock.monotonic()
    with postgres_worker(
        local_parts,
        publishing(local_parts, site.kafka(service)),
        tmp_path,
        {"SOMA_SECRETS_DIR": str(tmp_path)},
        without={CLIENT_SECRET},
    ) as worker:
        async with MemoryProducer(
            publishing(local_parts, site.kafka(Service.PRODUCER)), tenant="acme"
        ) as producer:

            async def arrives(key: str) -> None:
                await producer.store_async(NewMemory(namespace="a", key=key, text="By token."))
                await eventually(lambda: keys_in(owner_dsn), lambda keys: key in keys, seconds=60)

            await arrives("first")
            RawLog(publishing(local_parts, site.broker.settings())).send([Raw(key=b"acme/x", value=b"-")])
            await eventually(lambda: letters_in(owner_dsn), lambda letters: letters == 1, seconds=60)
            with open_admin(site.kafka(Service.PRODUCER)) as admin:
                await asyncio.to_thread(require_topics, admin, TOPICS)
            assert await members_seen(site.kafka(Service.LAG_COLLECTOR)) == [1]

            # Until every token with which they began has ended.
            async def old() -> float:
                return clock.monotonic() - began

            await eventually(old, lambda seconds: seconds > 3 * SHORT_LIFE)
            await arrives("by another token")
            rate = len(endpoint.given) / (clock.monotonic() - began)

            endpoint.secrets[service] = "another"
            with_former = endpoint.given.count(service)
            secret_file.write_text("another")

            async def with_another() -> int:
                return endpoint.given.count(service) - with_former

            # All its clients log in anew, once they have noticed.
            await eventually(with_another, lambda number: number >= CLIENTS_OF_A_WORKER, seconds=60)
            await arrives("by another secret")
        assert worker.terminate() == 0

    assert {*endpoint.given} >= {Service.POSTGRES_WORKER, Service.PRODUCER, Service.LAG_COLLECTOR}
    # Each client needs one whenever most of the life of the former is over, and not much oftener.
    assert rate < 2 * (CLIENTS_OF_A_WORKER + 2) / SHORT_LIFE
    counting("tokens shown to brokers", len(endpoint.given))


async def members_seen(kafka: KafkaSettings) -> list[int]:
    """Return how many members the worker's group has, as the lag collector looks at it."""
    groups = BrokerGroups(kafka, lambda name: name == SinkGroup.POSTGRES.on_brokers(TOPICS))
    try:
        seen = await groups.look()
    finally:
        await groups.close()
    return [len(group.members or ()) for group in seen.groups.values()]


async def test_a_worker_ends_and_says_why_when_it_has_no_token_that_is_accepted(
    site: OAuthSite, local_parts: LocalParts, counting: Counting
) -> None:
    faults: dict[str, dict[str, object]] = {
        "token_client_refused": {"oauth_client_secret": SecretStr("wrong")},
        "token_endpoint_away": {"oauth_token_url": "https://127.0.0.1:1/token"},
        "token_endpoint_away: status 503": {"oauth_token_url": f"{site.endpoint.url}/away"},
        "token_not_accepted": {"oauth_scope": "of-somebody-else"},
        "tls_unknown_authority": {"oauth_ca_file": None},
    }

    ended = await asyncio.gather(
        *(
            end_of_a_worker(worker_settings(local_parts, site.kafka(Service.POSTGRES_WORKER, **changes)))
            for changes in faults.values()
        )
    )

    assert [each.code for each in ended] == [fault.partition(":")[0] for fault in faults]
    assert all(each.remedy and "SASL" not in f"{each} {each.remedy}" for each in ended)
    counting("refusals that say what is wrong", len(ended))


def test_a_command_says_why_the_brokers_do_not_let_it_in(site: OAuthSite, counting: Counting) -> None:
    wrong = site.kafka(Service.API, oauth_client_secret=SecretStr("wrong"))

    with open_admin(wrong) as admin, pytest.raises(BrokerAccessError) as refused:
        require_topics(admin, TOPICS)

    assert refused.value.code == "token_client_refused"
    counting("refusals that say what is wrong", 1)


@pytest.mark.parametrize(
    "code",
    [
        "token_client_refused",
        pytest.param("token_endpoint_away", marks=pytest.mark.long),
        pytest.param("token_not_accepted", marks=pytest.mark.long),
    ],
)
@pytest.mark.usefixtures("owner_dsn")
def test_a_worker_that_runs_ends_when_it_gets_no_token_any_more(
    code: str, site: OAuthSite, local_parts: LocalParts, tmp_path: Path, counting: Counting
) -> None:
    endpoint, service = site.endpoint, Service.POSTGRES_WORKER
    endpoint.lasts = SHORT_LIFE
    worker = postgres_worker(
        local_parts,
        publishing(local_parts, site.kafka(service)),
        tmp_path,
        {"SOMA_RETRY__REFUSED_PATIENCE": "0"},
    )
    worker.start()
    try:
        match code:
            case "token_client_refused":
                del endpoint.secrets[service]
            case "token_endpoint_away":
                endpoint.away = True
            case _:
                endpoint.audience = "somebody-else"
        ended = eventually_now(lambda: worker.exit_code, lambda exit_code: exit_code is not None, seconds=90)
    finally:
        worker.end_if_it_runs()

    assert ended == 1
    log = (tmp_path / "worker.log").read_text()
    assert f"'{code}: " in log or f'"{code}: ' in log, log[-3000:]
    counting("refusals that say what is wrong", 1)
