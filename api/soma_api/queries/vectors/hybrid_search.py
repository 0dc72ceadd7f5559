"""Answers a search: embed the question, find candidates, fuse them, read what the best ones hold."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from qdrant_edge import SparseVector

from soma_api.queries.erasure_selection import ErasureSelection
from soma_api.queries.filter_terms import Selection
from soma_api.queries.history_queries import PastVersion
from soma_api.queries.memory_queries import Memory
from soma_api.queries.vectors.conditions import Condition, conditions_of, of_tenant, places_of
from soma_api.queries.vectors.fusion import (
    Candidate,
    Explanation,
    Ranked,
    fuse,
    rank_as_found,
    rank_by_nearness,
    rank_by_words,
)
from soma_api.queries.vectors.living_conditions import living
from soma_api.queries.vectors.reader import Candidates, PointReader, Question, Unscored
from soma_api.queries.vectors.reranking import (
    BOOST_FIELDS,
    Boost,
    Context,
    Threshold,
    above,
    boosted,
    diverse,
    shifted,
)
from soma_api.queries.vectors.unerased import unerased
from soma_api.queries.vectors.wording import Match, Says, says
from soma_schemas import tracing
from soma_schemas.clock import Clock, yield_now
from soma_schemas.memories import Content
from soma_schemas.retention import TenantPolicies
from soma_schemas.tracing import SpanKind
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.embedders import Embedder
from soma_schemas.vectors.index_errors import UnfitVectorError
from soma_schemas.vectors.payload import DOCUMENT, TENANT, VERSION, memory_of
from soma_schemas.vectors.points import point_id, unit_vector

# Hybrid search fuses this many of each kind, each scored on both (docs/adr/0072).
_CANDIDATES = 100
# Candidates of these are found by the words in them.
_MADE_OF_WORDS = frozenset({Match.PHRASE, Match.EXACT})
_FIELDS = (TENANT, VERSION, DOCUMENT)
# Where no condition tells what is to be left out, so many candidates of each kind are looked through.
_MOST_CANDIDATES = 10_000
# Of what has a substring: no memory has more of it than another.
_SUBSTRING_SCORE = 1.0
# So many are read at a time, then others have their turn.
_CANDIDATES_READ = 250


class SearchMode(StrEnum):
    """By what memories are found."""

    VECTOR = "vector"
    KEYWORD = "keyword"
    HYBRID = "hybrid"


@dataclass(frozen=True)
class AsOf:
    """When memories have to have been there.

    Attributes:
        at: The time.
        told: Returns those of some memories of the tenant that the history tells were there then.
    """

    at: datetime
    told: Callable[[Collection[UUID]], Awaitable[Mapping[UUID, PastVersion]]]


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """A question to the vector index.

    Attributes:
        tenant: Whose memories are searched, from the caller's credential.
        policies: In force there: what they have ended is not found.
        text: What is asked; only a vector search with a vector of its own can do without.
        vector: Compared instead of the embedded text; of the index's model.
        top_k: Maximum number of hits.
        threshold: What the parts of a hit's score reach.
        boost: What is added to scores; None: nothing.
        diversity: How much hits are to differ from each other, 0 to 1.
        context: What the question is asked in the light of; None: nothing.
        erasures: The open erasures of the tenant: what they select is not found.
        match: How the words are to be said; a keyword search can ask for more than some of them.
        case_sensitive: Whether capitals make a difference in that.
        term_boosts: What the words of a term count instead of 1, by term. The text may lack them.
        as_of: When memories have to have been there; None: now.
    """

    tenant: str
    policies: TenantPolicies
    text: str | None = None
    vector: Sequence[float] | None = None
    mode: SearchMode = SearchMode.HYBRID
    filter: Selection = Selection()  # noqa: RUF009  # frozen
    top_k: int = 10
    threshold: Threshold = Threshold()  # noqa: RUF009  # frozen
    boost: Boost | None = None
    diversity: float = 0.0
    context: Context | None = None
    erasures: Sequence[ErasureSelection] = ()
    match: Match = Match.WORDS
    case_sensitive: bool = False
    term_boosts: Mapping[str, float] = field(default_factory=dict)
    as_of: AsOf | None = None

    @property
    def considers_more(self) -> bool:
        """Say whether the best are chosen among more candidates than are returned."""
        return self.mode is SearchMode.HYBRID or self.boost is not None or self.diversity > 0.0

    def __post_init__(self) -> None:
        if self.text is None and (self.vector is None or self.mode is not SearchMode.VECTOR):
            raise ValueError(f"a {self.mode} search wants a text")
        if self.vector is not None and self.mode is SearchMode.KEYWORD:
            raise ValueError("a keyword search has no use for a vector")
        if self.context is not None and self.mode is SearchMode.KEYWORD:
            raise ValueError("a keyword search has no use for a context")
        if self.mode is not SearchMode.KEYWORD and self.match is not Match.WORDS:
            raise ValueError(f"only a keyword search can want a match by {self.match}")
        if self.mode is SearchMode.VECTOR and self.term_boosts:
            raise ValueError("a vector search has no use for terms")
        if self.match is Match.SUBSTRING and (self.term_boosts or self.threshold != Threshold()):
            raise ValueError("a substring has no use for terms, and its score no parts")
        if self.top_k < 1:
            raise ValueError("a search returns at least one hit")

    @property
    def sifts(self) -> bool:
        """Say whether some of what is left out meets every condition: no engine computes what it is."""
        return (
            self.match is not Match.WORDS
            or self.as_of is not None
            or self.policies.decays
            or not all(each.is_named for each in self.erasures)
        )

    def leaves_out(self, memory_id: UUID, content: Content, now: datetime) -> bool:
        """Say whether a memory has ended, is selected by an open erasure, or does not say what is asked."""
        deadline = self.policies.deadline_of(content)
        return (
            (deadline is not None and deadline.at <= now)
            or any(each.selects(memory_id, content.namespace, content.subject) for each in self.erasures)
            or not self._says(content.text)
        )

    @cached_property
    def _says(self) -> Says:
        return says(self.match, self.text or "", case_sensitive=self.case_sensitive)


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A memory that was found, and why.

    Attributes:
        version_at: Which version it had when it has to have been there; None where the history does not tell.
    """

    memory: Memory
    score: float
    explanation: Explanation
    version_at: int | None = None


class SearchAnswer(NamedTuple):
    """What a search found.

    Attributes:
        hits: Best first.
        exhaustive: Whether no memory can be missing among the hits because too few candidates were looked
            through; None where none has to be.
        model: Made the vectors that were compared.
    """

    hits: list[SearchHit]
    exhaustive: bool | None
    model: str


class Search:
    """Searches the vector index.

    Args:
        reader: The engine.
        embedder: Turns questions into vectors; the one that made the index.
        bm25: Turns questions into words.
        clock: Says what has ended.
    """

    def __init__(self, reader: PointReader, embedder: Embedder, bm25: Bm25Encoder, clock: Clock) -> None:
        self._reader = reader
        self._embedder = embedder
        self._bm25 = bm25
        self._clock = clock

    async def __call__(self, request: SearchRequest) -> SearchAnswer:
        """Return the best hits, best first; a question that says nothing has none.

        Raises:
            UnfitVectorError: The request's own vector is not finite or not of the model's size.
            SearchTooCostlyError: It compares too many memories by too many conditions for this engine.
            EmbeddingRefusedError: The embedder does not take the text.
            EmbedderUnavailableError: The embedder does not answer for now.
            StoreUnavailableError: It is at a time, and whoever tells the history does not answer.
        """
        model = self._embedder.name
        conditions = conditions_of(request.tenant, request.filter)
        if conditions is None:
            return SearchAnswer([], True if request.sifts else None, model)
        conditions += unerased(request.tenant, request.erasures)
        with tracing.part("embed"):
            dense = await self._shifted(request) if request.mode is not SearchMode.KEYWORD else None
        words = self._words(request)
        question = Question(
            conditions + self._living(request),
            of_tenant(request.tenant),
            dense,
            words,
            limit=max(_CANDIDATES, request.top_k) if request.considers_more else request.top_k,
        )
        with tracing.part("query points", SpanKind.CLIENT, tracing.QDRANT):
            if request.sifts:
                found, exhaustive, past = await self._sifted(request, question)
            else:
                found, exhaustive, past = await self._reader.candidates(question), None, {}
            if request.mode is SearchMode.HYBRID:
                found = await self._complete(question, found)
        best = await self._best(request, question, found)
        with tracing.part("read points", SpanKind.CLIENT, tracing.QDRANT):
            payloads = await self._reader.payloads(
                [each.id for each in best], conditions + self._living(request), _FIELDS
            )
        # What was deleted, moved out of reach or ended since the candidates were found is left out.
        hits = [
            _hit(request.tenant, each, payloads[each.id], past.get(each.id))
            for each in best
            if each.id in payloads
        ]
        if request.sifts:
            now = self._clock.now()
            hits = [
                hit for hit in hits if not request.leaves_out(hit.memory.memory_id, hit.memory.content, now)
            ]
        if request.match in _MADE_OF_WORDS and words is None:
            # A text of which no word is indexed cannot be looked for.
            exhaustive = False
        return SearchAnswer(hits, exhaustive, model)

    def _words(self, request: SearchRequest) -> SparseVector | None:
        """Return the words of a question, each with what it counts."""
        if request.mode is SearchMode.VECTOR or request.match is Match.SUBSTRING:
            return None
        words = self._bm25.query(request.text or "")
        if not request.term_boosts:
            return words
        weights = {} if words is None else dict(zip(words.indices, words.values, strict=True))
        boosts: dict[int, float] = {}
        for term, boost in request.term_boosts.items():
            named = self._bm25.query(term)
            for index in () if named is None else named.indices:
                boosts[index] = max(boost, boosts.get(index, 0.0))
        weights |= boosts
        return SparseVector(list(weights), list(weights.values())) if weights else None

    async def _sifted(
        self, request: SearchRequest, question: Question
    ) -> tuple[Candidates, bool, Mapping[UUID, int]]:
        """Return candidates without what no condition leaves out, and whether no better one was left unseen.

        With them come the versions that their memories had when they have to have been there.

        They are as many as asked for where there are. No engine can compute a decay, a digest, a phrase or a
        substring, so the points themselves are read. As a rule the worker of retention has left none that is
        to be left out, and the first look is enough; a phrase or a substring is looked for among more than
        are wanted from the start.
        """
        wanted = question.limit
        if request.match is not Match.WORDS or request.as_of is not None:
            question = replace(question, limit=max(wanted, _CANDIDATES))
        kept: dict[UUID, bool] = {}
        past: dict[UUID, int] = {}
        while True:
            found = await self._candidates(request, question)
            unread = list({each.id for each in (*found.dense, *found.sparse)} - kept.keys())
            for start in range(0, len(unread), _CANDIDATES_READ):
                some = unread[start : start + _CANDIDATES_READ]
                payloads = await self._reader.payloads(some, question.conditions, _FIELDS)
                now = self._clock.now()
                alive = {each: held for each, held in payloads.items() if _is_kept(request, held, now)}
                if request.as_of is not None:
                    alive, versions = await _there(request.as_of, alive, untold=bool(request.erasures))
                    past |= versions
                kept |= {each: each in alive for each in some}
                await yield_now()
            dense = [each for each in found.dense if kept[each.id]]
            sparse = [each for each in found.sparse if kept[each.id]]
            enough = all(
                len(some) >= wanted or len(all_found) < question.limit
                for some, all_found in ((dense, found.dense), (sparse, found.sparse))
            )
            if enough or question.limit >= _MOST_CANDIDATES:
                return Candidates(dense[:wanted], sparse[:wanted]), enough, past
            question = replace(question, limit=min(4 * question.limit, _MOST_CANDIDATES))

    async def _candidates(self, request: SearchRequest, question: Question) -> Candidates:
        """Return what may be found, best first.

        No index tells what has a substring: each memory may have it, and those that happened last come first.
        """
        if request.match is not Match.SUBSTRING:
            return await self._reader.candidates(question)
        latest = await self._reader.latest(question.conditions, question.limit)
        return Candidates(sparse=[Candidate(each, _SUBSTRING_SCORE) for each in latest])

    async def _best(self, request: SearchRequest, question: Question, found: Candidates) -> list[Ranked]:
        """Return the best candidates that reach the threshold, after boosts."""
        most = request.top_k if request.diversity == 0.0 else len(found.dense) + len(found.sparse)
        if request.boost is None and request.threshold == Threshold():
            ranked = _ranked(request, found, most)
        else:
            ranked = _ranked(request, found, len(found.dense) + len(found.sparse))
            ranked = above(request.threshold, ranked)[: None if request.boost else most]
        ids = [each.id for each in ranked]
        if request.boost is not None:
            with tracing.part("read points", SpanKind.CLIENT, tracing.QDRANT):
                points = await self._reader.payloads(ids, question.conditions, BOOST_FIELDS)
            ranked = boosted(ranked, points, request.boost, self._clock.now(), most)
        if request.diversity > 0.0:
            with tracing.part("read points", SpanKind.CLIENT, tracing.QDRANT):
                vectors = await self._reader.vectors(ids, question.conditions)
            ranked = diverse(ranked, vectors, request.diversity, request.top_k)
        return ranked

    async def _complete(self, question: Question, found: Candidates) -> Candidates:
        """Return the candidates with what each scores on both: what words found may be near as well."""
        near, matching = {each.id for each in found.dense}, {each.id for each in found.sparse}
        unscored = Unscored(
            [] if question.dense is None else [each.id for each in found.sparse if each.id not in near],
            [] if question.sparse is None else [each.id for each in found.dense if each.id not in matching],
        )
        if not unscored.dense and not unscored.sparse:
            return found
        more = await self._reader.scores(question, unscored)
        return Candidates([*found.dense, *more.dense], [*found.sparse, *more.sparse])

    def _living(self, request: SearchRequest) -> list[Condition]:
        return living(request.tenant, request.policies, places_of(request.filter), self._clock.now())

    async def _shifted(self, request: SearchRequest) -> Sequence[float] | None:
        """Return the question's vector, moved by its context."""
        dense, context = await self._dense(request), request.context
        if dense is None or context is None:
            return dense
        near: list[Sequence[float]] = []
        if context.text is not None and (own := await self._embedded(context.text)) is not None:
            near.append(own)
        # Whatever the filter: a context lies where the reader may look, and that is all.
        visible = Selection(allowed=request.filter.allowed)
        conditions = conditions_of(request.tenant, visible)
        if context.memory_ids and conditions is not None:
            conditions += unerased(request.tenant, request.erasures)
            conditions += living(request.tenant, request.policies, places_of(visible), self._clock.now())
            ids = [point_id(request.tenant, each) for each in context.memory_ids]
            if request.sifts:
                now = self._clock.now()
                payloads = await self._reader.payloads(ids, conditions, _FIELDS)
                ids = [each for each, payload in payloads.items() if _is_kept(request, payload, now)]
            near += (await self._reader.vectors(ids, conditions)).values()
        return shifted(dense, near, context.weight)

    async def _dense(self, request: SearchRequest) -> Sequence[float] | None:
        if request.vector is not None:
            if len(request.vector) != self._embedder.dimensions:
                raise UnfitVectorError(
                    f"the vector has {len(request.vector)} numbers, the index holds vectors of "
                    f"{self._embedder.dimensions}"
                )
            return unit_vector(request.vector)
        return await self._embedded(request.text or "")

    async def _embedded(self, text: str) -> Sequence[float] | None:
        if self._embedder.in_process:
            return unit_vector(self._embedder.embed_query(text))
        return unit_vector(await asyncio.to_thread(self._embedder.embed_query, text))


def _ranked(request: SearchRequest, found: Candidates, limit: int) -> list[Ranked]:
    match request.mode:
        case SearchMode.VECTOR:
            return rank_by_nearness(found.dense, limit)
        case SearchMode.KEYWORD if request.match is Match.SUBSTRING:
            return rank_as_found(found.sparse, limit)
        case SearchMode.KEYWORD:
            return rank_by_words(found.sparse, limit)
        case SearchMode.HYBRID:
            return fuse(found.dense, found.sparse, limit)


def _is_kept(request: SearchRequest, payload: Mapping[str, Any], now: datetime) -> bool:
    memory_id, _, content = memory_of(payload)
    return content is not None and not request.leaves_out(memory_id, content, now)


async def _there(
    as_of: AsOf, alive: Mapping[UUID, Mapping[str, Any]], *, untold: bool
) -> tuple[dict[UUID, Mapping[str, Any]], dict[UUID, int]]:
    """Return those points whose memories were there at a time, and the versions that these had.

    Args:
        as_of: The time.
        alive: Points of living memories.
        untold: Whether nothing is told of a memory before it was last created.
    """
    memories = {each: memory_of(payload) for each, payload in alive.items()}
    told = await as_of.told([memory.memory_id for memory in memories.values()])
    there: dict[UUID, Mapping[str, Any]] = {}
    versions: dict[UUID, int] = {}
    for each, (memory_id, _, content) in memories.items():
        if content is None:
            continue
        past = told.get(memory_id)
        # What lay in another namespace under this id was another memory.
        if past is not None and past.namespace != content.namespace:
            past = None
        if content.created_at > as_of.at and (past is None or untold):
            continue
        there[each] = alive[each]
        if past is not None:
            versions[each] = past.version
    return there, versions


def _hit(tenant: str, ranked: Ranked, payload: Mapping[str, Any], version_at: int | None) -> SearchHit:
    memory_id, _, content = memory_of(payload)
    if payload[TENANT] != tenant or content is None:
        # The conditions make it impossible; were they ever wrong, this is where it must stop.
        raise RuntimeError("the index answered with a point that the tenant must not see")
    memory = Memory(memory_id, payload[VERSION], content)
    return SearchHit(memory, ranked.score, ranked.explanation, version_at)
