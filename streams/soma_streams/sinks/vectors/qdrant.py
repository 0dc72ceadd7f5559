"""The vector sink's engine on a Qdrant server."""

from collections.abc import Collection as Group
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from qdrant_client import AsyncQdrantClient, models

from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.payload import DOCUMENT, EMBEDDING, VERSION
from soma_schemas.vectors.placement import Placement
from soma_schemas.vectors.points import DENSE, SPARSE, Point, StoredPoint, check_batch
from soma_schemas.vectors.server import behind, check_collection, ensure_collection, renew_collection
from soma_schemas.vectors.server_errors import server_errors
from soma_schemas.versions import NO_VERSION
from soma_streams.sinks.vectors.vector_sink_errors import IndexLostError

_POINTS_PER_REQUEST = 128
# The server takes 32 MiB; a character can be four bytes, and JSON within JSON escapes some.
_CHARACTERS_PER_REQUEST = 2 * 1024 * 1024
_IDS_PER_REQUEST = 256
_ANYWHERE = Placement()


class QdrantWriter:
    """Keeps points on a server; a `PointWriter`. Errors are those of `server_errors`.

    Prepared, it stays with the collection that the alias led to then: what is written for one index never
    gets into another one, of another model, to which the alias is switched meanwhile.

    Args:
        client: Speaking gRPC, see `soma_schemas.vectors.server`.
        collection: The one behind the alias.
        placement: How one that is made lies on the nodes.
    """

    def __init__(
        self, client: AsyncQdrantClient, collection: Collection, placement: Placement = _ANYWHERE
    ) -> None:
        self._client = client
        self._collection = collection
        self._placement = placement
        self._name = collection.alias

    async def prepare(self) -> None:
        """Make the collection, its alias and its payload indexes unless they are there."""
        await ensure_collection(self._client, self._collection, self._placement)
        await self._settle_down()

    async def check(self) -> None:
        """Return when the collection is as declared, and the alias still leads to it.

        Raises:
            IndexLostError: The alias leads to another one by now.
        """
        found = await behind(self._client, self._collection.alias)
        if self._name not in {self._collection.alias, found and found.name}:
            raise IndexLostError("the alias of the vector index leads to another collection by now")
        await check_collection(self._client, self._collection)

    async def read(self, ids: Group[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return the payloads of the points that are there."""
        return await self._retrieve(ids)

    async def look(self, ids: Group[UUID]) -> Mapping[UUID, StoredPoint]:
        """Return the points that are there, and which vectors each has."""
        found: dict[UUID, StoredPoint] = {}
        wanted = [str(each) for each in ids]
        for start in range(0, len(wanted), _IDS_PER_REQUEST):
            with server_errors():
                records = await self._client.retrieve(
                    self._name,
                    wanted[start : start + _IDS_PER_REQUEST],
                    with_payload=True,
                    with_vectors=True,
                )
            found |= {point.id: point for point in map(_stored, records)}
        return found

    async def page(self, start: UUID, most: int) -> Sequence[StoredPoint]:
        """Return the points from an id on, in the order of their ids."""
        with server_errors():
            records, _ = await self._client.scroll(
                self._name, limit=most, offset=str(start), with_payload=True, with_vectors=True
            )
        return [_stored(record) for record in records]

    async def write(self, points: Sequence[Point], *, mends: bool = False) -> frozenset[UUID]:
        """Insert or replace, guarded by version; return the points whose stored version is newer."""
        check_batch(points, self._collection.dimensions)
        for some in _slices(points):
            with server_errors():
                await self._client.upsert(
                    self._name,
                    [_struct(point) for point in some],
                    update_filter=_guard(some, mends=mends),
                    wait=True,
                )
        stored = await self._retrieve([point.id for point in points], VERSION)
        return frozenset(
            point.id
            for point in points
            if point.id in stored and stored[point.id].get(VERSION, NO_VERSION) > point.version
        )

    async def flush(self) -> None:
        """Nothing to do: a request that was waited for is in the server's write-ahead log."""

    async def is_empty(self) -> bool:
        """Say whether there is no point at all."""
        with server_errors():
            records, _ = await self._client.scroll(self._name, limit=1, with_payload=False)
        return not records

    async def count(self) -> int:
        """Return about how many points there are."""
        with server_errors():
            return (await self._client.count(self._name, exact=False)).count

    async def renew(self, *, keep_former: bool) -> None:
        """Put a new collection behind the alias."""
        await renew_collection(
            self._client, self._collection, keep_former=keep_former, placement=self._placement
        )
        await self._settle_down()

    async def _settle_down(self) -> None:
        found = await behind(self._client, self._collection.alias)
        if found is not None:
            self._name = found.name

    async def _retrieve(self, ids: Group[UUID], *fields: str) -> dict[UUID, Mapping[str, Any]]:
        """Return these fields of the points that are there; without fields, all."""
        wanted = [str(each) for each in ids]
        found: dict[UUID, Mapping[str, Any]] = {}
        for start in range(0, len(wanted), _IDS_PER_REQUEST):
            with server_errors():
                records = await self._client.retrieve(
                    self._name,
                    wanted[start : start + _IDS_PER_REQUEST],
                    with_payload=list(fields) or True,
                )
            found |= {UUID(str(record.id)): record.payload or {} for record in records}
        return found


def _guard(points: Sequence[Point], *, mends: bool) -> models.Filter:
    """Return the guard: a stored version is below the new one, or the same where points are mended.

    Absent points are inserted all the same.
    """
    return models.Filter(
        should=[
            models.Filter(
                must=[
                    models.HasIdCondition(has_id=[str(point.id)]),
                    models.FieldCondition(key=VERSION, range=_versions_below(point, mends=mends)),
                ]
            )
            for point in points
        ]
    )


def _versions_below(point: Point, *, mends: bool) -> models.Range:
    version = float(point.version)
    return models.Range(lte=version) if mends else models.Range(lt=version)


def _stored(record: models.Record) -> StoredPoint:
    vectors = record.vector if isinstance(record.vector, dict) else {}
    return StoredPoint(UUID(str(record.id)), record.payload or {}, frozenset(vectors))


def _struct(point: Point) -> models.PointStruct:
    vector: dict[str, Any] = {}
    if point.dense is not None:
        vector[DENSE] = list(point.dense)
    if point.sparse is not None:
        vector[SPARSE] = models.SparseVector(
            indices=list(point.sparse.indices), values=list(point.sparse.values)
        )
    return models.PointStruct(id=str(point.id), vector=vector, payload=dict(point.payload))


def _slices(points: Sequence[Point]) -> Iterator[list[Point]]:
    some: list[Point] = []
    characters = 0
    for point in points:
        size = len(point.payload.get(DOCUMENT, "")) + len(point.payload.get(EMBEDDING, ""))
        if some and (len(some) == _POINTS_PER_REQUEST or characters + size > _CHARACTERS_PER_REQUEST):
            yield some
            some, characters = [], 0
        some.append(point)
        characters += size
    if some:
        yield some
