"""Retention on the real database."""

from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from retention_bench import AppliedLog, Bench, a_session
from soma_streams.sinks.sessions import Connection, Pool


@pytest.fixture
async def pool(worker_dsn: str) -> AsyncIterator[Pool]:
    """Connections of the workers' login."""
    opened: Pool = AsyncConnectionPool(worker_dsn, min_size=1, max_size=4, open=False)
    async with opened:
        yield opened


@pytest.fixture
async def session(worker_dsn: str) -> AsyncIterator[Connection]:
    """The session of the leader."""
    opened = await a_session(worker_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def bench(pool: Pool, session: Connection) -> Bench:
    """The sweeper on the real tables."""
    return Bench(AppliedLog(pool), session)
