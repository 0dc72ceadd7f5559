"""A collection that somebody has changed makes no dead letter: the worker stops and says what differs."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient, models

from builders import WRITER_SCHEMAS, a_batch, a_decoder, a_record, nothing_sealed, stored
from contract.vectors.build import A_COLLECTION
from fakes import FakeClock, RecordedDeadLetters
from soma_schemas.errors import MismatchError
from soma_schemas.outcomes import Outcome
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.points import point_id
from soma_schemas.vectors.server import switch_alias
from soma_streams.checks import Waiting
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.settle import Settler
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.sinks.vectors.points import PointMaker
from soma_streams.sinks.vectors.qdrant import QdrantWriter
from soma_streams.sinks.vectors.vector_sink import VectorSink
from standings import a_standing

_EVENTS = 40
_COSINE, _IDF = models.Distance.COSINE, models.SparseVectorParams(modifier=models.Modifier.IDF)


class KnownSchemas:
    async def fetch(self, ids: set[int]) -> dict[int, WriterSchema]:
        return {number: WRITER_SCHEMAS[number] for number in ids}


class OneDirection:
    """An embedder that answers every text with the same vector."""

    name = A_COLLECTION.model
    dimensions = A_COLLECTION.dimensions
    in_process = True

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [[1.0, 0.0, 0.0, 0.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError(text)

    def close(self) -> None:
        pass


@pytest.fixture
async def client(client: AsyncQdrantClient) -> AsyncQdrantClient:
    """Of a server with our collection."""
    await QdrantWriter(client, A_COLLECTION).prepare()
    return client


@pytest.mark.parametrize(
    ("dimensions", "sparse", "difference"),
    [
        (7, {"bm25": _IDF}, "`dense` is 7 numbers by Cosine, not 4 numbers by Cosine"),
        (4, {}, "`bm25` is missing"),
    ],
)
async def test_another_collection_behind_the_alias_stops_the_worker_and_dead_letters_nothing(
    client: AsyncQdrantClient, dimensions: int, sparse: dict[str, Any], difference: str
) -> None:
    letters, clock = RecordedDeadLetters(), FakeClock()
    writer = QdrantWriter(client, A_COLLECTION)
    standing = await a_standing(writer)
    settler = Settler(
        sink=VectorSink(
            writer=writer,
            maker=PointMaker(OneDirection(), Bm25Encoder(), A_COLLECTION),
            standing=standing,
            group="soma-vectors",
            offer_watermark=lambda _: None,
        ),
        decoder=a_decoder(),
        sealed=nothing_sealed(),
        schemas=KnownSchemas(),
        dead_letters=letters,
        retry=Retry(RetrySettings.model_validate({}), clock, Random(1), Waiting()),
        clock=clock,
        flood=FloodGuard(DeliverySettings.model_validate({})),
        epoch=1,
    )
    events = [stored() for _ in range(_EVENTS)]
    batch = a_batch([a_record(event, offset) for offset, event in enumerate(events)])
    await client.create_collection(
        "other",
        vectors_config={"dense": models.VectorParams(size=dimensions, distance=_COSINE)},
        sparse_vectors_config=sparse,
        metadata=A_COLLECTION.metadata(),
    )
    # With what ours says of itself: it is no other index that was put there, only another layout.
    records, _ = await client.scroll(A_COLLECTION.alias, limit=100)
    copies = [models.PointStruct(id=each.id, vector={}, payload=each.payload) for each in records]
    await client.upsert("other", copies)
    await switch_alias(client, A_COLLECTION.alias, "other")

    with pytest.raises(MismatchError) as raised:
        await settler.settle(batch)

    assert difference in str(raised.value)
    assert classify(raised.value) is FailureClass.SYSTEMIC
    assert letters.letters == []
    await switch_alias(client, A_COLLECTION.alias, A_COLLECTION.name())
    settled = await settler.settle(batch)
    assert letters.letters == []
    assert settled.outcomes[Outcome.APPLIED] == _EVENTS
    applied = await writer.read([point_id(event.tenant, event.memory_id) for event in events])
    assert len(applied) == _EVENTS
