"""What the search says when the server does not answer."""

import pytest

from contract.vectors.build import AN_AXIS
from soma_api.queries.vectors.conditions import of_tenant
from soma_api.queries.vectors.qdrant import QdrantReader
from soma_api.queries.vectors.reader import Question
from soma_schemas.settings import VectorSettings
from soma_schemas.vectors.index_errors import IndexUnavailableError
from soma_schemas.vectors.server import open_client

_NOBODY_LISTENS = 1


async def test_a_server_that_is_away_is_an_index_that_does_not_answer() -> None:
    settings = VectorSettings(url=f"http://127.0.0.1:{_NOBODY_LISTENS}")
    everything = of_tenant("acme")
    async with open_client(settings) as client:
        reader = QdrantReader(client, "memories")

        with pytest.raises(IndexUnavailableError):
            await reader.candidates(Question([everything], everything, AN_AXIS, None, limit=1))
