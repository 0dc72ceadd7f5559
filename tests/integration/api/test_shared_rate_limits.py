"""Rate limits that several API processes count together, in a real Valkey server."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from api_gateway import Gateway, body_of, open_gateway
from conftest import LocalParts
from own_processes import SomaProcess, api_alone
from soma_api import rate_limits
from soma_api.api_keys import new_key
from soma_api.settings import GatewaySettings
from soma_schemas.clock import SystemClock
from soma_schemas.settings import PostgresSettings, PublishingSettings
from valkey_server import ValkeyServer


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path) as running:
        yield running


@pytest.fixture
async def replicas(
    valkey: ValkeyServer,
    api_postgres: PostgresSettings,
    worker_dsn: str,
    owner_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two APIs with one store, which take four requests a minute of a principal, and five of a tenant."""
    monkeypatch.setattr(rate_limits, "_PAUSE_SECONDS", 0.0)
    settings = GatewaySettings(
        rate_limit_per_principal=4, rate_limit_per_tenant=5, rate_limit_store=SecretStr(valkey.url)
    )
    async with AsyncExitStack() as opened:
        first, second = [
            await opened.enter_async_context(
                open_gateway(
                    api_postgres,
                    worker_dsn=worker_dsn,
                    owner_dsn=owner_dsn,
                    gateway=settings,
                    clock=SystemClock(),
                )
            )
            for _ in range(2)
        ]
        second.client.headers["Authorization"] = first.client.headers["Authorization"]
        yield first, second
        for each in (first, second):
            await each.application.state.services.rate_limits.close()


def test_two_processes_of_the_api_share_a_limit_and_tell_nobody_where_it_is_counted(
    *,
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    api_dsn: str,
    valkey: ValkeyServer,
    tmp_path: Path,
) -> None:
    del api_dsn  # makes sure that the login is there
    key = new_key()
    with psycopg.connect(owner_dsn) as connection:
        connection.execute(
            "INSERT INTO api_keys (key_id, tenant, role, secret_hash, created_at)"
            " VALUES (%s, 'acme', 'reader', %s, now())",
            [key.key_id, key.digest()],
        )
    limits = {"SOMA_API__RATE_LIMIT_PER_PRINCIPAL": "4", "SOMA_API__RATE_LIMIT_STORE": valkey.url}
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    headers = {"X-API-Key": key.reveal()}

    def sent(process: SomaProcess, requests: int) -> list[int]:
        with httpx.Client(base_url=process.url, headers=headers, timeout=60, trust_env=False) as client:
            return [client.get("/v1/namespaces").status_code for _ in range(requests)]

    with ExitStack() as running:
        first, second = [
            running.enter_context(api_alone(local_parts, publishing_settings, log, limits)) for log in logs
        ]
        together = sent(first, 3) + sent(second, 3)
        valkey.kill()
        apart = sent(first, 5)

    assert together == [200, 200, 200, 200, 429, 429]
    assert apart == [200, 200, 200, 200, 429]
    told = [log.read_text("utf-8") for log in logs]
    assert [each.count("rate_limit_store_away") for each in told] == [1, 0]
    assert [each for each in told if valkey.password in each or key.secret in each] == []


async def statuses(requests: int, *gateways: Gateway) -> list[int]:
    """Send requests to each in turn."""
    return [
        (await gateways[number % len(gateways)].client.get("/v1/namespaces")).status_code
        for number in range(requests)
    ]


def failures(gateway: Gateway) -> float:
    """Return how often the store did not answer."""
    metrics = gateway.application.state.services.metrics.of_process
    lines = metrics.exposition("").body.decode().splitlines()
    (line,) = (each for each in lines if each.startswith("soma_api_rate_limit_store_failures_total"))
    return float(line.partition(" ")[2])


async def test_what_one_process_has_taken_the_others_do_not_take_again(
    replicas: tuple[Gateway, Gateway],
) -> None:
    assert await statuses(6, *replicas) == [200, 200, 200, 200, 429, 429]


async def test_a_tenant_is_limited_over_all_processes(replicas: tuple[Gateway, Gateway]) -> None:
    first, second = replicas
    assert await statuses(4, first) == [200] * 4
    second.use(second.a_key())

    assert await statuses(3, second) == [200, 429, 429]


async def test_what_is_left_and_how_long_to_wait_is_told_for_all_processes(
    replicas: tuple[Gateway, Gateway],
) -> None:
    first, second = replicas
    told = [(await each.client.get("/v1/namespaces")).headers["RateLimit"] for each in (first, second)]
    await statuses(2, first)
    refused = await second.client.get("/v1/namespaces")

    left = [each.split(";")[1] for each in told]
    seconds = [int(each.rpartition("=")[2]) for each in told]
    assert left == ["r=3", "r=2"]
    # Never less than the store will let pass: it rounds.
    assert all(1 <= each <= 61 for each in seconds)
    assert body_of(refused)["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert f"in {refused.headers['Retry-After']} s" in body_of(refused)["detail"]


async def test_while_the_store_is_away_each_process_counts_by_itself_and_says_so_once(
    replicas: tuple[Gateway, Gateway], valkey: ValkeyServer
) -> None:
    first, second = replicas
    assert await statuses(4, first) == [200] * 4
    valkey.kill()

    with capture_logs() as logs:
        assert Counter(await statuses(6, first)) == {200: 4, 429: 2}
        second.use(second.a_key(tenant="other"))
        assert Counter(await statuses(6, second)) == {200: 4, 429: 2}

    away = [each for each in logs if each["event"] == "rate_limit_store_away"]
    assert [each["error"] for each in away] == ["ConnectionError", "ConnectionError"]
    assert valkey.password not in str(logs)
    assert (failures(first) > 1, failures(second) > 1) == (True, True)


async def test_when_the_store_is_back_it_counts_again(
    replicas: tuple[Gateway, Gateway], valkey: ValkeyServer
) -> None:
    first, second = replicas
    valkey.kill()
    await statuses(1, first)
    valkey.start()

    with capture_logs() as logs:
        assert await statuses(6, first, second) == [200, 200, 200, 200, 429, 429]

    assert [each["event"] for each in logs if each["event"].startswith("rate_limit")] == [
        "rate_limit_store_back"
    ]


async def test_a_store_that_does_not_let_us_in_is_as_good_as_away(
    valkey: ValkeyServer, api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> None:
    url = valkey.url.replace(valkey.password, "guessed-wrong")
    settings = GatewaySettings(rate_limit_per_principal=2, rate_limit_store=SecretStr(url))
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=settings, clock=SystemClock()
    ) as gateway:
        with capture_logs() as logs:
            assert await statuses(3, gateway) == [200, 200, 429]
        await gateway.application.state.services.rate_limits.close()

    assert "rate_limit_store_away" in {each["event"] for each in logs}
    assert "guessed-wrong" not in str(logs)
