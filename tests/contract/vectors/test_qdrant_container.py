"""The server's writer and reader keep both contracts against a Qdrant server in a container."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from containers.parts import qdrant_container
from contract.vectors.build import A_COLLECTION
from contract.vectors.engines import ServerEngine
from contract.vectors.reader_contract import PointReaderContract
from contract.vectors.writer_contract import PointWriterContract
from soma_schemas.vectors.server import ensure_collection, open_client

# Making a collection takes a second: all tests of this file have one server, in one event loop.
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[ServerEngine]:
    """The server and its client."""
    with qdrant_container() as settings:
        async with open_client(settings) as client:
            await ensure_collection(client, A_COLLECTION)
            yield ServerEngine(client, A_COLLECTION)


@pytest_asyncio.fixture(loop_scope="module")
async def engine(opened: ServerEngine) -> ServerEngine:
    """The collection, emptied."""
    await opened.clear()
    return opened


class TestQdrantWriter(PointWriterContract):
    """Against Qdrant."""


class TestQdrantReader(PointReaderContract):
    """Against Qdrant."""
