"""A pool that has no connection: what it says, and that it goes on trying."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from pydantic import SecretStr

from conftest import LocalParts
from soma_cli.local.postgres import Login
from soma_schemas.metrics import MetricSet
from soma_schemas.pool_metrics import PoolName, expose_pool
from soma_schemas.postgres_pool import open_pool
from soma_schemas.settings import PostgresSettings
from waiting import eventually_so

_ATTEMPTS = 6


@pytest.fixture
def login(local_parts: LocalParts) -> PostgresSettings:
    """The workers' login, with one connection and little patience."""
    found = local_parts.parts.postgres.settings(Login.WORKER)
    return found.model_copy(update={"pool_size": 1, "connect_timeout": timedelta(seconds=2)})


async def test_a_password_that_is_refused_is_no_timeout(login: PostgresSettings) -> None:
    wrong = login.model_copy(update={"password": SecretStr("wrong")})
    async with open_pool(wrong) as pool:
        with pytest.raises(psycopg.OperationalError, match="does not accept our credentials"):
            await pool.getconn()


async def test_connections_that_are_all_in_use_are_not_blamed_on_the_server(login: PostgresSettings) -> None:
    async with open_pool(login) as pool, pool.connection():
        with pytest.raises(PoolTimeout):
            await pool.getconn(0.1)


async def test_who_waits_for_a_connection_and_who_got_none_is_counted(login: PostgresSettings) -> None:
    metrics = MetricSet()

    def told(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"soma_postgres_pool_{name}", {"pool": "worker"})

    async with open_pool(login) as pool, pool.connection():
        expose_pool(pool, PoolName.WORKER, metrics)
        waiting = asyncio.create_task(pool.getconn(30))
        await eventually_so(lambda: told("waiting") == 1)
        before = told("timeouts_total")
        with pytest.raises(PoolTimeout):
            await pool.getconn(0.1)
        waiting.cancel()

        assert before == 0
        assert told("timeouts_total") == 1
        assert (told("wait_seconds_total") or 0) > 0


async def test_a_server_that_stays_away_is_tried_again_and_again_without_growing_pauses(
    login: PostgresSettings,
) -> None:
    nobody = login.model_copy(update={"port": 9})
    async with open_pool(nobody) as pool:
        # psycopg's own pauses would have reached 16 s by then.
        await eventually_so(
            lambda: pool.get_stats().get("connections_num", 0), lambda tried: tried >= _ATTEMPTS, seconds=8
        )
