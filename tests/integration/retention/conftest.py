"""Retention on the real database."""

from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from soma_streams.sinks.sessions import Pool


@pytest.fixture
async def pool(worker_dsn: str) -> AsyncIterator[Pool]:
    """Connections of the workers' login."""
    opened: Pool = AsyncConnectionPool(worker_dsn, min_size=1, max_size=4, open=False)
    async with opened:
        yield opened
