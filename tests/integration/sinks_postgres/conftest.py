"""A sink on the real database."""

from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from postgres_tables import A_GROUP
from soma_streams.sinks.postgres import PostgresSink
from soma_streams.sinks.sessions import Pool


@pytest.fixture
async def pool(worker_dsn: str) -> AsyncIterator[Pool]:
    """Connections of the workers' login."""
    opened: Pool = AsyncConnectionPool(worker_dsn, min_size=1, max_size=3, open=False)
    async with opened:
        yield opened


@pytest.fixture
def sink(pool: Pool) -> PostgresSink:
    """The sink under test."""
    return PostgresSink(pool, A_GROUP)
