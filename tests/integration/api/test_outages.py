"""What the API says while PostgreSQL is away, and that it finds its way back."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import psycopg
import pytest

from api_gateway import Gateway, body_of, open_gateway
from conftest import LocalParts
from soma_api.settings import GatewaySettings
from soma_cli.local.postgres import Login
from soma_schemas.settings import PostgresSettings
from soma_schemas.versions import Position
from waiting import eventually


@pytest.fixture
async def gateway(api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str) -> AsyncIterator[Gateway]:
    """The API, which gives up soon."""
    impatient = GatewaySettings(statement_timeout=timedelta(seconds=0.5))
    postgres = api_postgres.model_copy(update={"connect_timeout": timedelta(seconds=1)})
    async with open_gateway(
        postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=impatient
    ) as served:
        yield served


def end_connections(local_parts: LocalParts) -> None:
    """End every connection of the API's login, as a restart of the server would."""
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.ADMIN), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'soma_api'")


def may_log_in(local_parts: LocalParts, *, allowed: bool) -> None:
    """Let the API's login in, or keep it out."""
    word = "LOGIN" if allowed else "NOLOGIN"
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.ADMIN), autocommit=True) as admin:
        admin.execute(f"ALTER ROLE soma_api {word}".encode())


async def test_connections_that_the_server_ended_cost_no_request(
    gateway: Gateway, local_parts: LocalParts
) -> None:
    memory = gateway.given_memory()
    assert (await gateway.client.get(f"/v1/memories/{memory}")).status_code == 200

    end_connections(local_parts)

    assert (await gateway.client.get(f"/v1/memories/{memory}")).status_code == 200


async def test_a_database_that_is_away_is_an_outage_worth_trying_again(
    gateway: Gateway, local_parts: LocalParts
) -> None:
    may_log_in(local_parts, allowed=False)
    try:
        end_connections(local_parts)
        answer = await gateway.client.get("/v1/memories")
        readiness = await eventually(
            partial(gateway.client.get, "/readyz"),
            lambda looked: body_of(looked)["parts"]["postgres"]["error"] == "credentials_refused",
        )
    finally:
        may_log_in(local_parts, allowed=True)

    assert (answer.status_code, body_of(answer)["code"]) == (503, "store_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert (readiness.status_code, body_of(readiness)["status"]) == (503, "not_ready")
    await eventually(partial(gateway.client.get, "/v1/memories"), lambda again: again.status_code == 200)


async def test_a_statement_that_takes_too_long_is_an_outage_and_not_a_mistake(
    gateway: Gateway, local_parts: LocalParts
) -> None:
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.OWNER)) as owner:
        owner.execute("LOCK TABLE memories IN ACCESS EXCLUSIVE MODE")
        answer = await gateway.client.get("/v1/memories")

    assert (answer.status_code, body_of(answer)["code"]) == (503, "query_timeout")


async def test_a_write_that_the_log_has_is_accepted_although_its_outcome_cannot_be_asked(
    gateway: Gateway, local_parts: LocalParts
) -> None:
    for group in ("soma-postgres", "soma-vectors"):
        gateway.waiter.advance(group, 0, 1)
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.OWNER)) as owner:
        owner.execute("LOCK TABLE memory_history IN ACCESS EXCLUSIVE MODE")
        answer = await gateway.client.post(
            "/v1/memories", json={"namespace": "team", "text": "tea"}, headers={"Prefer": "wait=1"}
        )

    assert (answer.status_code, body_of(answer)["outcome"]) == (202, None)
    assert body_of(answer)["position"] == str(Position(0, 0))
