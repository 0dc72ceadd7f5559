"""What the search says when the server does not answer."""

from typing import cast

import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.models import QueryResponse

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


class _Recording:
    """A client that keeps what it is asked, and finds nothing."""

    def __init__(self) -> None:
        self.requests: list[models.QueryRequest] = []

    async def query_batch_points(self, _: str, requests: list[models.QueryRequest]) -> list[QueryResponse]:
        self.requests += requests
        return [QueryResponse(points=[]) for _ in requests]


async def test_a_graph_is_searched_as_hard_as_the_settings_say() -> None:
    client = _Recording()
    everything = of_tenant("acme")
    reader = QdrantReader(cast("AsyncQdrantClient", client), "memories", VectorSettings(hnsw_ef=700).hnsw_ef)

    await reader.candidates(Question([everything], everything, AN_AXIS, None, limit=1))

    assert [each.params for each in client.requests] == [models.SearchParams(hnsw_ef=700)]
