"""The engines under contract, each with a back door that shares no code with its writer or reader."""

import warnings
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self
from uuid import UUID

import qdrant_edge
from qdrant_client import AsyncQdrantClient, models

from qdrant_server import qdrant_server
from soma_api.queries.vectors.qdrant import QdrantReader
from soma_api.queries.vectors.reader import PointReader
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.settings import VectorSettings
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.server import ensure_collection, open_client
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


class ShardEngine:
    """The embedded engine, behind whatever writes to it and reads from it."""

    def __init__(
        self, writer: PointWriter, reader: PointReader, shard: Callable[[], qdrant_edge.EdgeShard]
    ) -> None:
        self.writer = writer
        self.reader = reader
        self._shard = shard

    @property
    def shard(self) -> qdrant_edge.EdgeShard:
        """The one that is there now: an index that is made anew has another."""
        return self._shard()

    @classmethod
    def embedded(cls, index: EmbeddedIndex) -> Self:
        """The shard as the product opens it."""
        return cls(index, index, lambda: index._shard)

    async def stored(self) -> dict[UUID, StoredPoint]:
        records, _ = self.shard.scroll(
            qdrant_edge.ScrollRequest(limit=100_000, with_payload=True, with_vector=True)
        )
        return {UUID(str(record.id)): _stored(record.payload, record.vector) for record in records}

    async def clear(self) -> None:
        """Leave no point, not even a tombstone."""
        self.shard.update(qdrant_edge.UpdateOperation.delete_points(list(await self.stored())))

    async def put(self, point_id: UUID, payload: Mapping[str, Any], dense: Sequence[float]) -> None:
        point = qdrant_edge.Point(point_id, {"dense": list(dense)}, dict(payload))
        self.shard.update(qdrant_edge.UpdateOperation.upsert_points([point]))


@asynccontextmanager
async def grpc_engine(folder: Path, collection: Collection, **options: Any) -> AsyncIterator[ShardEngine]:
    """An empty collection behind gRPC, made as the vector worker makes it."""
    async with (
        qdrant_server(folder, **options) as server,
        open_client(VectorSettings(url=server.url)) as client,
    ):
        await ensure_collection(client, collection)
        writer, reader = QdrantWriter(client, collection), QdrantReader(client, collection.alias)
        yield ShardEngine(writer, reader, lambda: server.shard(collection.alias))


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

    async def clear(self) -> None:
        """Leave no point, not even a tombstone."""
        if ids := [str(one) for one in await self.stored()]:
            await self._client.delete(self._alias, models.PointIdsList(points=[*ids]), wait=True)

    async def put(self, point_id: UUID, payload: Mapping[str, Any], dense: Sequence[float]) -> None:
        point = models.PointStruct(id=str(point_id), vector={"dense": list(dense)}, payload=dict(payload))
        await self._client.upsert(self._alias, [point])


@asynccontextmanager
async def server_engine(collection: Collection) -> AsyncIterator[ServerEngine]:
    """An empty collection in memory."""
    client = AsyncQdrantClient(":memory:")
    with warnings.catch_warnings():
        # It keeps no payload indexes, and says so.
        warnings.filterwarnings("ignore", "Payload indexes have no effect", UserWarning)
        await ensure_collection(client, collection)
    yield ServerEngine(client, collection)
    await client.close()


def _stored(payload: Mapping[str, Any] | None, vectors: Any) -> StoredPoint:
    vectors = vectors or {}
    words = vectors.get("bm25")
    return StoredPoint(payload or {}, vectors.get("dense"), frozenset(words.indices if words else ()))
