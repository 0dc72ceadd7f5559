"""A client of a stand-in of the Qdrant server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from qdrant_server import qdrant_server
from soma_schemas.settings import VectorSettings
from soma_schemas.vectors.server import open_client


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncQdrantClient]:
    """Of a server with nothing in it."""
    async with (
        qdrant_server(tmp_path / "qdrant") as server,
        open_client(VectorSettings(url=server.url)) as opened,
    ):
        yield opened
