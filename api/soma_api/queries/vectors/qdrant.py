"""Search on a Qdrant server."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, assert_never
from uuid import UUID

from qdrant_client import AsyncQdrantClient, models

from soma_api.queries.vectors.conditions import AnyOf, Condition, InRange, IsPoint, Not, OneOf
from soma_api.queries.vectors.fusion import Candidate
from soma_api.queries.vectors.reader import Candidates, Question, Unscored
from soma_schemas.errors import SomaError, told
from soma_schemas.settings import HNSW_EF
from soma_schemas.vectors.index_errors import IndexUnavailableError
from soma_schemas.vectors.payload import LABELS, OCCURRED_AT
from soma_schemas.vectors.points import DENSE, SPARSE
from soma_schemas.vectors.server_errors import server_errors


class QdrantReader:
    """Finds points on a server; a `PointReader`.

    Args:
        client: Speaking gRPC, see `soma_schemas.vectors.server`.
        alias: Of the collection.
        hnsw_ef: How many points the graph keeps in view.
    """

    def __init__(self, client: AsyncQdrantClient, alias: str, hnsw_ef: int = HNSW_EF) -> None:
        self._client = client
        self._alias = alias
        self._near = models.SearchParams(hnsw_ef=hnsw_ef)

    async def candidates(self, question: Question) -> Candidates:
        """Return both kinds of candidates, asked for in one request."""
        where = _filter(question.conditions)
        return await self._asked(question, where, where, question.limit, question.limit)

    async def latest(self, conditions: Sequence[Condition], limit: int) -> Sequence[UUID]:
        """Return at most so many points that meet the conditions, those that happened last first."""
        with _translated():
            records, _ = await self._client.scroll(
                self._alias,
                scroll_filter=_filter(conditions),
                order_by=models.OrderBy(key=OCCURRED_AT, direction=models.Direction.DESC),
                limit=limit,
                with_payload=False,
            )
        return [UUID(str(record.id)) for record in records]

    async def scores(self, question: Question, unscored: Unscored) -> Candidates:
        """Return what a question scores these points at."""
        near = _filter([IsPoint(unscored.dense), *question.conditions])
        matching = _filter([IsPoint(unscored.sparse), *question.conditions])
        return await self._asked(question, near, matching, len(unscored.dense), len(unscored.sparse))

    async def _asked(
        self,
        question: Question,
        near: models.Filter,
        matching: models.Filter,
        most_near: int,
        most_matching: int,
    ) -> Candidates:
        requests: dict[str, models.QueryRequest] = {}
        if question.dense is not None and most_near:
            requests[DENSE] = models.QueryRequest(
                query=list(question.dense), using=DENSE, filter=near, limit=most_near, params=self._near
            )
        if question.sparse is not None and most_matching:
            requests[SPARSE] = models.QueryRequest(
                query=models.SparseVector(
                    indices=list(question.sparse.indices), values=list(question.sparse.values)
                ),
                using=SPARSE,
                filter=matching,
                limit=most_matching,
                params=models.SearchParams(idf=models.IdfCorpusParams(corpus=_filter([question.corpus]))),
            )
        if not requests:
            return Candidates()
        with _translated():
            answers = await self._client.query_batch_points(self._alias, list(requests.values()))
        found = {
            kind: [Candidate(UUID(str(point.id)), point.score) for point in answer.points]
            for kind, answer in zip(requests, answers, strict=True)
        }
        return Candidates(found.get(DENSE, ()), found.get(SPARSE, ()))

    async def read(self, ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return the payloads of the points that are there."""
        with _translated():
            records = await self._client.retrieve(self._alias, [str(each) for each in ids], with_payload=True)
        return {UUID(str(record.id)): record.payload or {} for record in records}

    async def vectors(
        self, ids: Sequence[UUID], conditions: Sequence[Condition]
    ) -> Mapping[UUID, Sequence[float]]:
        """Return the dense vectors of those of these points that meet the conditions and have one."""
        if not ids:
            return {}
        with _translated():
            records, _ = await self._client.scroll(
                self._alias,
                scroll_filter=_filter([IsPoint(ids), *conditions]),
                limit=len(ids),
                with_payload=False,
                with_vectors=[DENSE],
            )
        found: dict[UUID, Sequence[float]] = {}
        for record in records:
            vectors: Any = record.vector
            if vectors and DENSE in vectors:
                found[UUID(str(record.id))] = vectors[DENSE]
        return found

    async def payloads(
        self, ids: Sequence[UUID], conditions: Sequence[Condition], fields: Sequence[str]
    ) -> Mapping[UUID, Mapping[str, Any]]:
        """Return these fields of the points that still meet the conditions."""
        if not ids:
            return {}
        with _translated():
            records, _ = await self._client.scroll(
                self._alias,
                scroll_filter=_filter([IsPoint(ids), *conditions]),
                limit=len(ids),
                with_payload=list(fields),
            )
        return {UUID(str(record.id)): record.payload or {} for record in records}


@contextmanager
def _translated() -> Iterator[None]:
    """Turn whatever the server or the way to it refuses into an index that does not answer.

    To a reader it makes no difference why: what a question can be wrong about is checked before it is sent.
    """
    try:
        with server_errors():
            yield
    except IndexUnavailableError:
        raise
    except (SomaError, OSError) as error:
        reason = told(error) or type(error).__name__
        raise IndexUnavailableError(f"the vector index does not answer: {reason}") from error


def _filter(conditions: Sequence[Condition]) -> models.Filter:
    return models.Filter(must=[_condition(each) for each in conditions])


def _condition(condition: Condition) -> models.Condition:
    match condition:
        case OneOf([label]):
            return models.FieldCondition(key=LABELS, match=models.MatchText(text=label))
        case OneOf(labels):
            return models.FieldCondition(key=LABELS, match=models.MatchTextAny(text_any=" ".join(labels)))
        case InRange(field, at_least, above, at_most, below):
            return models.FieldCondition(
                key=field, range=models.Range(gte=at_least, gt=above, lte=at_most, lt=below)
            )
        case AnyOf(alternatives):
            return models.Filter(should=[_filter(each) for each in alternatives])
        case Not(conditions):
            return models.Filter(must_not=[_filter(conditions)])
        case IsPoint(ids):
            return models.HasIdCondition(has_id=[str(each) for each in ids])
        case _:
            assert_never(condition)
