"""The server's writer and reader keep both contracts over gRPC, with the embedded engine at the other end."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from contract.vectors.build import A_COLLECTION
from contract.vectors.engines import ShardEngine, grpc_engine
from contract.vectors.reader_contract import PointReaderContract
from contract.vectors.writer_contract import PointWriterContract

# Making a collection takes a second: all tests of this file have one server, in one event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ShardEngine]:
    """The server and its client."""
    async with grpc_engine(tmp_path_factory.mktemp("qdrant") / "server", A_COLLECTION) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="module")
async def engine(opened: ShardEngine) -> ShardEngine:
    """The collection, emptied."""
    await opened.clear()
    return opened


class TestGrpcWriter(PointWriterContract):
    """Against the stand-in over gRPC."""


class TestGrpcReader(PointReaderContract):
    """Against the stand-in over gRPC."""
