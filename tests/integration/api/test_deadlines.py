"""A question ends at its deadline, and when its client goes away: in the database too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import pytest

from api_gateway import Gateway, body_of, open_gateway
from soma_api.serving import bind, serve
from soma_api.settings import GatewaySettings
from soma_schemas.settings import PostgresSettings
from waiting import eventually


@asynccontextmanager
async def _memories_locked(owner_dsn: str) -> AsyncIterator[None]:
    """No question about memories is answered within the block."""
    async with await psycopg.AsyncConnection.connect(owner_dsn) as connection:
        await connection.execute("LOCK TABLE memories IN ACCESS EXCLUSIVE MODE")
        yield


async def _questions_waiting(owner_dsn: str) -> int:
    """Return how many statements of others wait for the lock."""
    async with await psycopg.AsyncConnection.connect(owner_dsn) as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'memories'::regclass"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def _served(gateway: Gateway) -> AsyncIterator[tuple[str, int]]:
    """Yield where the API listens."""
    stop, listening = asyncio.Event(), bind(GatewaySettings(port=0))
    host, port = listening.getsockname()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(gateway.application, GatewaySettings(port=0), stop, listening))
        try:
            yield host, port
        finally:
            stop.set()


async def test_a_client_that_goes_away_takes_its_question_out_of_the_database(gateway: Gateway) -> None:
    key = gateway.a_key()
    async with _served(gateway) as (host, port):
        async with _memories_locked(gateway.owner_dsn):
            _, writer = await asyncio.open_connection(host, port)
            credential = f"Authorization: Bearer {key.reveal()}"
            writer.write(f"GET /v1/memories HTTP/1.1\r\nHost: soma\r\n{credential}\r\n\r\n".encode())
            await eventually(lambda: _questions_waiting(gateway.owner_dsn), lambda found: found == 1)

            writer.close()

            # The lock is held on: nothing but its end has the question gone.
            await eventually(lambda: _questions_waiting(gateway.owner_dsn), lambda found: found == 0)
        answer = await gateway.client.get("/v1/memories")
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/v1/memories", "/v1/namespaces"])
async def test_a_question_that_takes_too_long_is_cancelled_in_the_database(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str, path: str
) -> None:
    hasty = GatewaySettings(statement_timeout=timedelta(milliseconds=200))
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=hasty
    ) as gateway:
        async with _memories_locked(owner_dsn):
            answer = await gateway.client.get(path)

            assert await _questions_waiting(owner_dsn) == 0
        again = await gateway.client.get(path)
    assert (answer.status_code, body_of(answer)["code"]) == (503, "query_timeout")
    assert body_of(answer)["retryable"] is True
    assert "Retry-After" in answer.headers
    assert again.status_code == 200
