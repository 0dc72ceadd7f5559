"""The server's writer and reader keep both contracts, as far as qdrant-client's own stand-in can tell."""

from collections.abc import AsyncIterator

import pytest

from contract.vectors.build import A_COLLECTION
from contract.vectors.engines import ServerEngine, server_engine
from contract.vectors.reader_contract import PointReaderContract
from contract.vectors.writer_contract import PointWriterContract


@pytest.fixture
async def engine() -> AsyncIterator[ServerEngine]:
    """An empty collection."""
    async with server_engine(A_COLLECTION) as opened:
        yield opened


class TestServerWriter(PointWriterContract):
    """Against the stand-in."""


class TestServerReader(PointReaderContract):
    """Against the stand-in."""
