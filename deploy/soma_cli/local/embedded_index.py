"""The embedded vector index: one shard in a folder, written and searched by the process that opened it."""

import asyncio
import json
import os
import shutil
from collections.abc import Collection as Group
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

import qdrant_edge as edge
import structlog

from soma_api.queries.vectors.conditions import Condition, IsPoint, OneOf, of_tenant
from soma_api.queries.vectors.fusion import Candidate
from soma_api.queries.vectors.reader import Candidates, Question, Unscored
from soma_cli.local.embedded_filters import MOST_LEFT_OUT, filter_of, search_filter
from soma_cli.local.embedded_ranking import Ranking, best_points
from soma_cli.local.errors import LocalStackError
from soma_schemas.clock import yield_now
from soma_schemas.errors import MismatchError, SomaError
from soma_schemas.vectors.collection import PAYLOAD_INDEXES, REINDEX_REMEDY, Collection, FieldType
from soma_schemas.vectors.index_errors import IndexRefusedError, IndexUnavailableError
from soma_schemas.vectors.payload import OCCURRED_AT, TENANT, VERSION
from soma_schemas.vectors.points import DENSE, SPARSE, Point, StoredPoint, check_batch
from soma_schemas.versions import NO_VERSION

T = TypeVar("T")

log = structlog.get_logger(__name__)

_SHARD = "shard"
_UNFINISHED = "shard.unfinished"
_FORMER = "shard.former"
_RECORD = "collection.json"
_LOG = "wal"

# Writing out its segments stops the whole process for 50 to 150 ms. Until then they are in the write-ahead
# log, which the next start reads again: that many points in about a second.
_POINTS_PER_CHECKPOINT = 16_384

# The engine holds the interpreter while it works: a slice takes 10 to 20 ms, then others have their turn.
_POINTS_PER_SLICE = 64

# Of the event loop: enough to accept a connection, read a request and answer it where that waits for nothing.
_ROUNDS_BETWEEN_QUESTIONS = 12

# The engine maps its files: where a page of one finds no room any more, the kernel ends the process. So it is
# not let come so far. A new index takes 141 MiB, a slice of points seldom more than one; files grow by 32.
SPARE_BYTES = 256 << 20
_NEW_BYTES = 160 << 20

_INDEXES: Mapping[
    FieldType,
    edge.KeywordIndexParams | edge.TextIndexParams | edge.IntegerIndexParams | edge.FloatIndexParams,
] = {
    FieldType.TENANT_KEY: edge.KeywordIndexParams(is_tenant=True),
    FieldType.WORDS: edge.TextIndexParams(tokenizer=edge.TokenizerType.Whitespace, lowercase=False),
    FieldType.INTEGER: edge.IntegerIndexParams(lookup=False, range=True),
    FieldType.FLOAT: edge.FloatIndexParams(),
}

# Candidates come from vectors of a byte a number, twice as many as asked for, and are scored again exactly:
# a third of the time of exact search, and nothing lost in 3,000 compared answers.
_SEARCH_DENSE = edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=True, oversampling=2.0))
# More than are wanted are asked for anyway.
_AMONG_NEAREST = edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=True))


class IndexInUseError(LocalStackError):
    """Another process has the embedded index open; two would destroy each other's data."""

    code = "index_in_use"
    remedy = "stop the other process first"


class EmbeddedIndex:
    """Keeps and finds points in this process; a `PointWriter` and a `PointReader`.

    Its methods are coroutines of one event loop. Made by `open`.

    Args:
        shard: Open, and nobody else's.
        folder: Where it is, with its record.
        collection: What its points have in common.
        spare_bytes: What it leaves free of its disk: points are refused before.
    """

    def __init__(
        self, shard: edge.EdgeShard, folder: Path, collection: Collection, spare_bytes: int = SPARE_BYTES
    ) -> None:
        self._spare_bytes = spare_bytes
        self._opened: edge.EdgeShard | None = shard
        self._folder = folder
        self._log = folder / _SHARD / _LOG
        self._collection = collection
        self._tenants = _tenants(shard)
        self._points_since_checkpoint = 0
        self._turn = asyncio.Lock()

    @classmethod
    def open(cls, folder: Path, collection: Collection, spare_bytes: int = SPARE_BYTES) -> Self:
        """Return the index in a folder, made when it is not there yet.

        One of an older indexing gives way to a new one, which is filled like one that was lost.

        Args:
            folder: Where it is.
            collection: What its points have in common.
            spare_bytes: What it leaves free of its disk.

        Raises:
            MismatchError: It was made for another embedder or a newer indexing.
            IndexInUseError: Another process has it open.
            IndexUnavailableError: There is no room to make it.
        """
        if not is_index(folder):
            _make(folder, collection, spare_bytes)
        found = Collection.recorded(collection.alias, recorded_in(folder))
        if collection.supersedes(found):
            _require_free(folder, collection)
            _make(folder, collection, spare_bytes)
        else:
            collection.check(found)
        return cls(_load(folder, collection), folder, collection, spare_bytes)

    def close(self) -> None:
        """Make everything durable and release the folder; what was deleted meanwhile is only released."""
        if self._opened is not None:
            shard, self._opened = self._opened, None
            for step in (shard.flush, shard.close):
                try:
                    with _translated():
                        step()
                except Exception:
                    if (self._folder / _RECORD).exists():
                        raise

    @property
    def _shard(self) -> edge.EdgeShard:
        if self._opened is None:
            raise RuntimeError("the vector index is not open any more")
        return self._opened

    async def prepare(self) -> None:
        """Nothing to do: opening it has made it, or found it as declared."""

    async def check(self) -> None:
        """Nothing to do: nobody else can change it while it is open."""

    async def is_empty(self) -> bool:
        """Say whether there is no point at all."""
        with _translated():
            return self._shard.count(edge.CountRequest(exact=True)) == 0

    async def count(self) -> int:
        """Return about how many points there are."""
        with _translated():
            return self._shard.count(edge.CountRequest(exact=False))

    async def renew(self, *, keep_former: bool) -> None:
        """Begin anew in the same folder; what was there is gone, which was nobody else's.

        Raises:
            IndexUnavailableError: There is no room to make another one.
        """
        del keep_former
        _require_room(self._folder, self._spare_bytes + _NEW_BYTES)
        # Nothing is awaited between the two, so that no other coroutine meets a closed shard.
        with _translated():
            self._shard.close()
        _make(self._folder, self._collection, self._spare_bytes)
        self._opened = _load(self._folder, self._collection)
        self._tenants = _tenants(self._shard)
        self._points_since_checkpoint = 0

    async def read(self, ids: Group[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return the payloads of the points that are there."""
        found: dict[UUID, Mapping[str, Any]] = {}
        for some in _slices(list(ids)):
            with _translated():
                records = self._shard.retrieve(list(some), with_payload=True, with_vector=False)
            found |= {_uuid(record.id): record.payload or {} for record in records}
            await yield_now()
        return found

    async def look(self, ids: Group[UUID]) -> Mapping[UUID, StoredPoint]:
        """Return the points that are there, and which vectors each has."""
        found: dict[UUID, StoredPoint] = {}
        for some in _slices(list(ids)):
            with _translated():
                records = self._shard.retrieve(list(some), with_payload=True, with_vector=True)
            found |= {point.id: point for point in map(_stored, records)}
            await yield_now()
        return found

    async def page(self, start: UUID, most: int) -> Sequence[StoredPoint]:
        """Return the points from an id on, in the order of their ids."""
        found: list[StoredPoint] = []
        following: UUID | int | str | None = start
        while following is not None and len(found) < most:
            request = edge.ScrollRequest(
                offset=following,
                limit=min(_POINTS_PER_SLICE, most - len(found)),
                with_payload=True,
                with_vector=True,
            )
            with _translated():
                records, following = self._shard.scroll(request)
            found += map(_stored, records)
            await yield_now()
        return found

    async def write(self, points: Sequence[Point], *, mends: bool = False) -> frozenset[UUID]:
        """Insert or replace, guarded by version; return the points whose stored version is newer."""
        check_batch(points, self._collection.dimensions)
        refused: set[UUID] = set()
        for some in _slices(points):
            with _translated():
                refused |= self._upsert(some, mends=mends)
            await yield_now()
        return frozenset(refused)

    def _upsert(self, points: Sequence[Point], *, mends: bool) -> set[UUID]:
        """Write some points, and return those whose stored version is newer.

        Nothing is awaited between reading the versions and writing, so nobody else writes in between.

        Raises:
            IndexUnavailableError: The disk has too little room.
        """
        _require_room(self._folder, self._spare_bytes)
        self._points_since_checkpoint += len(points)
        if len(self._tenants) <= 1:
            # The index speaks of itself in points without a tenant.
            self._tenants.update(point.payload[TENANT] for point in points if TENANT in point.payload)
        stored = self._versions(points)
        newer = [point for point in points if stored.get(point.id, NO_VERSION) < point.version + mends]
        self._shard.update(edge.UpdateOperation.upsert_points(list(map(_edge_point, newer))))
        return {point.id for point in points if stored.get(point.id, NO_VERSION) > point.version}

    async def flush(self) -> None:
        """Return once everything written survives a crash of the machine.

        Raises:
            OSError: The disk does not take it.
        """
        await asyncio.to_thread(_sync_files, self._log)
        if self._points_since_checkpoint >= _POINTS_PER_CHECKPOINT:
            with _translated():
                self._shard.flush()
            self._points_since_checkpoint = 0

    async def candidates(self, question: Question) -> Candidates:
        """Return both kinds of candidates.

        Questions take turns, so that however many are asked at once, other work waits for one of them.

        Raises:
            SearchTooCostlyError: Answering would stop this process for too long.
        """
        async with self._turn:
            answer = self._candidates(question)
            for _ in range(_ROUNDS_BETWEEN_QUESTIONS):
                await yield_now()
        return answer

    def _candidates(self, question: Question) -> Candidates:
        rankings: dict[str, Ranking] = {}
        if question.dense is not None:
            near = edge.Query.Nearest(list(question.dense), using=DENSE)
            rankings[DENSE] = Ranking(near, _SEARCH_DENSE, _AMONG_NEAREST, checks_all=True)
        if question.sparse is not None:
            match = edge.Query.Nearest(question.sparse, using=SPARSE)
            rarity = self._rarity(question.corpus)
            rankings[SPARSE] = Ranking(match, rarity, rarity, checks_all=False)
        if not rankings:
            return Candidates()
        with _translated():
            asked = search_filter(question.conditions, question.limit, self._estimated, self._some)
            found = best_points(rankings, asked, question.limit + len(asked.left_out), self._asked)
        best = {kind: _best(points, question.limit, asked.left_out) for kind, points in found.items()}
        return Candidates(best.get(DENSE, ()), best.get(SPARSE, ()))

    def _asked(self, requests: Sequence[edge.QueryRequest]) -> Sequence[list[edge.ScoredPoint]]:
        return self._shard.query_batch(edge.QueryBatchRequest(list(requests)))

    async def latest(self, conditions: Sequence[Condition], limit: int) -> Sequence[UUID]:
        """Return at most so many points that meet the conditions, those that happened last first.

        It takes turns with questions for candidates.

        Raises:
            SearchTooCostlyError: Answering would stop this process for too long.
        """
        async with self._turn:
            with _translated():
                asked = search_filter(conditions, limit, self._estimated, self._some)
                request = edge.ScrollRequest(
                    limit=limit + len(asked.left_out),
                    filter=asked.where,
                    with_payload=False,
                    with_vector=False,
                    order_by=edge.OrderBy(OCCURRED_AT, edge.Direction.Desc),
                )
                records, _ = self._shard.scroll(request)
            for _ in range(_ROUNDS_BETWEEN_QUESTIONS):
                await yield_now()
        found = [_uuid(record.id) for record in records]
        return [each for each in found if each not in asked.left_out][:limit]

    async def scores(self, question: Question, unscored: Unscored) -> Candidates:
        """Return what a question scores these points at; it takes a fraction of what finding them took."""
        requests: dict[str, edge.QueryRequest] = {}
        with _translated():
            if question.dense is not None and unscored.dense:
                where = filter_of([IsPoint(unscored.dense), *question.conditions])
                near = edge.Query.Nearest(list(question.dense), using=DENSE)
                requests[DENSE] = _request(near, where, len(unscored.dense), _SEARCH_DENSE)
            if question.sparse is not None and unscored.sparse:
                where = filter_of([IsPoint(unscored.sparse), *question.conditions])
                match = edge.Query.Nearest(question.sparse, using=SPARSE)
                rarity = self._rarity(question.corpus)
                requests[SPARSE] = _request(match, where, len(unscored.sparse), rarity)
            if not requests:
                return Candidates()
            answers = self._shard.query_batch(edge.QueryBatchRequest(list(requests.values())))
        found = {
            kind: [Candidate(_uuid(point.id), point.score) for point in points]
            for kind, points in zip(requests, answers, strict=True)
        }
        return Candidates(found.get(DENSE, ()), found.get(SPARSE, ()))

    async def vectors(
        self, ids: Sequence[UUID], conditions: Sequence[Condition]
    ) -> Mapping[UUID, Sequence[float]]:
        """Return the dense vectors of those of these points that meet the conditions and have one."""
        if not ids:
            return {}
        request = edge.ScrollRequest(
            limit=len(ids),
            filter=filter_of([IsPoint(ids), *conditions]),
            with_payload=False,
            with_vector=[DENSE],
        )
        with _translated():
            records, _ = self._shard.scroll(request)
        found: dict[UUID, Sequence[float]] = {}
        for record in records:
            vectors: Any = record.vector
            if vectors and DENSE in vectors:
                found[_uuid(record.id)] = vectors[DENSE]
        return found

    async def payloads(
        self, ids: Sequence[UUID], conditions: Sequence[Condition], fields: Sequence[str]
    ) -> Mapping[UUID, Mapping[str, Any]]:
        """Return these fields of the points that still meet the conditions."""
        if not ids:
            return {}
        request = edge.ScrollRequest(
            limit=len(ids),
            filter=filter_of([IsPoint(ids), *conditions]),
            with_payload=list(fields),
            with_vector=False,
        )
        with _translated():
            records, _ = self._shard.scroll(request)
        return {_uuid(record.id): record.payload or {} for record in records}

    def _estimated(self, where: edge.Filter) -> int:
        return self._shard.count(edge.CountRequest(exact=False, filter=where))

    def _some(self, where: edge.Filter) -> Sequence[UUID]:
        request = edge.ScrollRequest(
            limit=MOST_LEFT_OUT + 1, filter=where, with_payload=False, with_vector=False
        )
        return [_uuid(record.id) for record in self._shard.scroll(request)[0]]

    def _rarity(self, corpus: OneOf) -> edge.SearchParams | None:
        """Return what has the rarity of words counted among these points, where not all points are of them.

        Counting takes a millisecond at 50,000 points; the engine keeps the count among all points itself.
        """
        if [corpus] == [of_tenant(tenant) for tenant in self._tenants]:
            return None
        return edge.SearchParams(idf=edge.IdfParams(corpus=filter_of([corpus])))

    def _versions(self, points: Sequence[Point]) -> dict[UUID, int]:
        ids: list[UUID | int | str] = [point.id for point in points]
        records = self._shard.retrieve(ids, with_payload=[VERSION], with_vector=False)
        return {_uuid(record.id): (record.payload or {}).get(VERSION, NO_VERSION) for record in records}


def _tenants(shard: edge.EdgeShard) -> set[str]:
    """Return whose points there are, tombstones among them; of many tenants two, which say the same."""
    return {str(hit.value) for hit in shard.facet(edge.FacetRequest(TENANT, limit=2, exact=True)).hits}


def _configuration(collection: Collection) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={
            DENSE: edge.EdgeVectorParams(
                collection.dimensions,
                edge.Distance.Cosine,
                quantization_config=edge.TurboQuantQuantizationConfig(
                    bits=edge.TurboQuantBitSize.Bits8, memory=edge.Memory.Pinned
                ),
            )
        },
        sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        payload_memory=edge.Memory.Cached,
        # More would share out segments, of which there is one, and cost each question a change of threads.
        max_search_threads=1,
        wal_enabled=True,  # without it there is no lock against a second process either
    )


def is_index(folder: Path) -> bool:
    """Say whether there is an index in a folder."""
    return (folder / _SHARD).exists()


def remove_index(folder: Path) -> None:
    """Delete the index in a folder, and leave whatever else is there."""
    (folder / _RECORD).unlink(missing_ok=True)
    for part in (_SHARD, _UNFINISHED, _FORMER):
        shutil.rmtree(folder / part, ignore_errors=True)


def _load(folder: Path, collection: Collection) -> edge.EdgeShard:
    with _translated():
        return edge.EdgeShard.load(str(folder / _SHARD), _configuration(collection))


def _require_free(folder: Path, collection: Collection) -> None:
    """Refuse to make an index anew that another process has open; in what state it is does not matter.

    Raises:
        IndexInUseError: Another process has it open.
    """
    try:
        _load(folder, collection).close()
    except IndexInUseError:
        raise
    except Exception as error:  # noqa: BLE001  # damaged, or laid out otherwise: it is made anew for that
        log.warning("index_does_not_open", error=type(error).__name__)


def _require_room(folder: Path, wanted: int) -> None:
    """Refuse to go on where a disk has too little room.

    Raises:
        IndexUnavailableError: It has less.
    """
    try:
        free = shutil.disk_usage(folder).free
    except FileNotFoundError:
        # Deleted while it is open: what is written takes no room, and whoever writes goes elsewhere soon.
        return
    if free < wanted:
        raise IndexUnavailableError(
            f"the disk of the vector index has {free >> 20:,} MiB left, and {wanted >> 20:,} are wanted",
            remedy="Make room on it: points are tried again until there is.",
        )


def _make(folder: Path, collection: Collection, spare_bytes: int) -> None:
    """Make an empty index in place of what is there; a crash leaves nothing that looks like one."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / _UNFINISHED
    for left in (unfinished, folder / _FORMER):
        shutil.rmtree(left, ignore_errors=True)
    _require_room(folder, spare_bytes + _NEW_BYTES)
    with _translated():
        shard = edge.EdgeShard.create(str(unfinished), _configuration(collection))
        for field, field_type in PAYLOAD_INDEXES.items():
            shard.update(edge.UpdateOperation.create_field_index(field, _INDEXES[field_type]))
        shard.flush()
        shard.close()
    former = folder / _SHARD
    if former.exists():
        former.rename(folder / _FORMER)
    record = folder / _RECORD
    record.write_text(json.dumps(collection.metadata()))
    _sync(record)
    unfinished.rename(folder / _SHARD)
    _sync(folder)
    shutil.rmtree(folder / _FORMER, ignore_errors=True)


def recorded_in(folder: Path) -> Mapping[str, Any] | None:
    """Return what is recorded with the index in a folder; None where nothing is, or it is damaged."""
    try:
        record = json.loads((folder / _RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _sync_files(folder: Path) -> None:
    """Return once a folder and its files are on the disk, mapped pages included, or the folder is gone."""
    while True:
        try:
            for path in (*folder.iterdir(), folder):
                _sync(path)
        except FileNotFoundError:
            if folder.exists():
                continue  # the engine makes its next file under a passing name
        return


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _request(
    query: edge.Query, where: edge.Filter, limit: int, params: edge.SearchParams | None
) -> edge.QueryRequest:
    return edge.QueryRequest(
        limit=limit, query=query, filter=where, with_payload=False, with_vector=False, params=params
    )


def _best(points: Sequence[edge.ScoredPoint], limit: int, left_out: frozenset[UUID]) -> Sequence[Candidate]:
    found = [Candidate(_uuid(point.id), point.score) for point in points]
    return [each for each in found if each.id not in left_out][:limit]


def _edge_point(point: Point) -> edge.Point:
    vectors: dict[str, edge.NamedVector] = {}
    if point.dense is not None:
        vectors[DENSE] = list(point.dense)
    if point.sparse is not None:
        vectors[SPARSE] = point.sparse
    return edge.Point(point.id, vectors, dict(point.payload))


def _stored(record: edge.Record) -> StoredPoint:
    vectors = record.vector if isinstance(record.vector, dict) else {}
    return StoredPoint(_uuid(record.id), record.payload or {}, frozenset(vectors))


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _POINTS_PER_SLICE):
        yield items[start : start + _POINTS_PER_SLICE]


def _uuid(point_id: UUID | int | str) -> UUID:
    return point_id if isinstance(point_id, UUID) else UUID(str(point_id))


_LOCKED = ("WouldBlock",)
_OPERATORS_TASK = ("config is incompatible", "Not existing vector name")
_FOR_NOW = ("No space left", "Too many open files", "Out of memory, free", "Timeout error")
_POINTS_FAULT = ("Vector dimension error", "Wrong usage of", "Validation error")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the engine's errors, which all are of class Exception, into ours by what they say.

    One that says nothing known passes as it is, and so counts as systemic.
    """
    try:
        yield
    except Exception as error:
        known = translate(str(error)) if type(error) is Exception else None
        if known is None:
            raise
        raise known from error


def translate(message: str) -> SomaError | None:
    """Return what a message of the engine means, or None when it is not known."""
    if any(part in message for part in _LOCKED):
        return IndexInUseError("another process has the vector index open")
    if any(part in message for part in _OPERATORS_TASK):
        return MismatchError("the vector index is not laid out as declared", remedy=REINDEX_REMEDY)
    if any(part in message for part in _FOR_NOW):
        return IndexUnavailableError("the machine has no room for the vector index")
    if any(part in message for part in _POINTS_FAULT):
        return IndexRefusedError("the vector index refuses a point")
    return None
