"""The engines under contract, each with a back door that shares no code with its writer or reader."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import qdrant_edge
from qdrant_client import AsyncQdrantClient, models

from soma_api.queries.vectors.qdrant import QdrantReader
from soma_api.queries.vectors.reader import PointReader
from soma_cli.local.vectors import EmbeddedIndex
from soma_schemas.vectors.collection import Collection
from soma_streams.sinks.vectors.qdrant import QdrantWriter
from soma_streams.sinks.vectors.writer import PointWriter


@dataclass(frozen=True)
class StoredPoint:
    """A point as the engine has it."""

    payload: Mapping[str, Any]
    dense: Sequence[float] | None
    words: frozenset[int]


class Engine(Protocol):
    """One engine with an empty collection."""

    writer: PointWriter
    reader: PointReader

    async def stored(self) -> dict[UUID, StoredPoint]:
        """Everything it has, through the back door."""
        ...

    async def put(self, point_id: UUID, payload: Mapping[str, Any], dense: Sequence[float]) -> None:
        """Have a point in it, through the back door."""
        ...


class EmbeddedEngine:
    """The embedded shard."""

    def __init__(self, index: EmbeddedIndex) -> None:
        self.writer: PointWriter = index
        self.reader: PointReader = index
        self._shard = index._shard

    async def stored(self) -> dict[UUID, StoredPoint]:
        records, _ = self._shard.scroll(
            qdrant_edge.ScrollRequest(limit=100_000, with_payload=True, with_vector=True)
        )
        return {UUID(str(record.id)): _stored(record.payload, record.vector) for record in records}

    async def clear(self) -> None:
        """Leave no point, not even a tombstone."""
        self._shard.update(qdrant_edge.UpdateOperation.delete_points(list(await self.stored())))

    async def put(self, point_id: UUID, payload: Mapping[str, Any], dense: Sequence[float]) -> None:
        point = qdrant_edge.Point(point_id, {"dense": list(dense)}, dict(payload))
        self._shard.update(qdrant_edge.UpdateOperation.upsert_points([point]))


class ServerEngine:
    """qdrant-client, with the server replaced by its own in-memory stand-in."""

    def __init__(self, client: AsyncQdrantClient, collection: Collection) -> None:
        self.writer: PointWriter = QdrantWriter(client, collection)
        self.reader: PointReader = QdrantReader(client, collection.alias)
        self._client = client
        self._alias = collection.alias

    async def stored(self) -> dict[UUID, StoredPoint]:
        records, _ = await self._client.scroll(
            self._alias, limit=100_000, with_payload=True, with_vectors=True
        )
        return {UUID(str(record.id)): _stored(record.payload, record.vector) for record in records}

    async def put(self, point_id: UUID, payload: Mapping[str, Any], dense: Sequence[float]) -> None:
        point = models.PointStruct(id=str(point_id), vector={"dense": list(dense)}, payload=dict(payload))
        await self._client.upsert(self._alias, [point])


@asynccontextmanager
async def server_engine(collection: Collection) -> AsyncIterator[ServerEngine]:
    """An empty collection in memory."""
    client = AsyncQdrantClient(":memory:")
    await client.create_collection(
        collection.alias,
        vectors_config={
            "dense": models.VectorParams(size=collection.dimensions, distance=models.Distance.COSINE)
        },
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    yield ServerEngine(client, collection)
    await client.close()


def _stored(payload: Mapping[str, Any] | None, vectors: Any) -> StoredPoint:
    vectors = vectors or {}
    words = vectors.get("bm25")
    return StoredPoint(payload or {}, vectors.get("dense"), frozenset(words.indices if words else ()))
