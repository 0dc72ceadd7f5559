"""Erasure on the real database; the log and the index are as small as they can be."""

from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from erasing import Place
from soma_streams.sinks.sessions import Pool


@pytest.fixture
async def place(worker_dsn: str, owner_dsn: str, api_dsn: str) -> AsyncIterator[Place]:
    """Everything that an erasure passes through."""
    opened: Pool = AsyncConnectionPool(worker_dsn, min_size=1, max_size=4, open=False)
    async with opened:
        yield Place(opened, owner_dsn, api_dsn)
