"""The models of a search, and the functions that show what it found."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from soma_api.models.filter_language import BOUNDS, Where
from soma_api.models.list_query import visible_below
from soma_api.models.memory_filter import MemoryFilter
from soma_api.models.payload_filter import MEANING, SEARCHED, compared
from soma_api.models.requests import Input, JsonObject, RequestId
from soma_api.models.responses import memory_view
from soma_api.principals import Principal
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import EVERYTHING, NumberRange, Selection
from soma_api.queries.vectors.hybrid_search import SearchAnswer, SearchHit, SearchMode, SearchRequest
from soma_api.queries.vectors.reranking import Boost, Context, Threshold
from soma_api.queries.vectors.wording import Match
from soma_schemas.fields import (
    Coordinate,
    Embedding,
    Finite,
    Importance,
    Key,
    Moment,
    StorableString,
    Tag,
    Text,
    broken,
)
from soma_schemas.retention import TenantPolicies
from soma_schemas.violations import ViolationCode

MAX_TOP_K = 10_000
MAX_BOOST = 1000.0
MAX_HALF_LIFE_SECONDS = 100 * 366 * 86_400
MAX_SEARCHES = 20
MAX_CONTEXT = 16
MAX_DIVERSE = 100
_MAX_TERMS = 64

_A_SEARCH: JsonDict = {
    "query": "what does Ada drink?",
    "mode": "hybrid",
    "top_k": 5,
    "filter": {"namespace_prefix": "assistant", "tags": ["preference"], "importance_min": 0.2},
}


_Term = Annotated[StorableString, Field(min_length=1, max_length=256)]
_TermBoost = Annotated[Finite, Field(gt=0.0, le=MAX_BOOST)]


class PayloadRange(Input):
    """Bounds of a number in the payload; what is left out bounds nothing."""

    gte: Finite | None = Field(None, description="At least.")
    gt: Finite | None = Field(None, description="More than.")
    lte: Finite | None = Field(None, description="At most.")
    lt: Finite | None = Field(None, description="Less than.")


class FilterBody(MemoryFilter):
    """The memories that a search considers. Omitted fields do not filter."""

    memory_ids: Annotated[list[RequestId], Field(max_length=1000)] | None = Field(
        None, description="Only these."
    )
    key: Key | None = Field(None, description="Having this key.")
    tags: Annotated[list[Tag], Field(max_length=_MAX_TERMS)] = Field(
        default=[], description="Having all of these tags."
    )
    tags_any: Annotated[list[Tag], Field(min_length=1, max_length=_MAX_TERMS)] | None = Field(
        None, description="Having at least one of these tags."
    )
    importance_min: Importance | None = Field(None, description="At least this important.")
    importance_max: Importance | None = Field(None, description="At most this important.")
    payload: JsonObject = Field(default={}, description=MEANING + SEARCHED)
    payload_ranges: Annotated[dict[str, PayloadRange], Field(max_length=_MAX_TERMS)] = Field(
        default={}, description="Number fields of the payload, by names joined with dots, and their bounds."
    )
    coordinate_min: Coordinate | None = Field(
        None, description="Low corner of a box of coordinates; comes with `coordinate_max`."
    )
    coordinate_max: Coordinate | None = Field(
        None, description="High corner of the box, which belongs to it."
    )

    where: Where | None = Field(
        None, description=f"What else is true of the memories, in the filter language. {BOUNDS}"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.coordinate_min is None) != (self.coordinate_max is None):
            raise broken(ViolationCode.MISSING_FIELD, "`coordinate_min` and `coordinate_max` come together")
        if (
            self.coordinate_min is not None
            and self.coordinate_max is not None
            and len(self.coordinate_min) != len(self.coordinate_max)
        ):
            raise broken(
                ViolationCode.INVALID_VALUE, "`coordinate_min` and `coordinate_max` have as many numbers"
            )
        compared(self.payload)
        return self

    def within(self, principal: Principal) -> Selection:
        """Return what to ask the index.

        Raises:
            NamespaceForbiddenError: The key does not reach the namespace or the prefix.
        """
        prefix, allowed = visible_below(principal, self.namespace, self.namespace_prefix)
        return selection(
            namespace=self.namespace,
            namespace_prefix=prefix,
            allowed=allowed,
            memory_ids=self.memory_ids,
            **self.shared(),
            tags=self.tags,
            tags_any=self.tags_any,
            importance_min=self.importance_min,
            importance_max=self.importance_max,
            payload=compared(self.payload),
            payload_ranges={
                name: NumberRange(at_least=each.gte, above=each.gt, at_most=each.lte, below=each.lt)
                for name, each in self.payload_ranges.items()
            },
            coordinate_min=self.coordinate_min,
            coordinate_max=self.coordinate_max,
            where=EVERYTHING if self.where is None else self.where.term(),
        )


class ThresholdBody(Input):
    """The least that parts of a score may be. A hit without the part is left out."""

    dense: Annotated[Finite, Field(ge=-1.0, le=1.0)] | None = Field(None, description="Least cosine.")
    bm25: Annotated[Finite, Field(gt=0.0)] | None = Field(None, description="Least match of words.")


class BoostBody(Input):
    """What is added to scores. The 100 best candidates of each kind, or `top_k`, are considered."""

    importance: Annotated[Finite, Field(ge=0.0, le=MAX_BOOST)] = Field(
        0.0, description="Added for importance 1, in proportion for others."
    )
    recency: Annotated[Finite, Field(ge=0.0, le=MAX_BOOST)] = Field(
        0.0, description="Added to what happens now; half of it after each half-life."
    )
    half_life_seconds: Annotated[int, Field(strict=True, ge=1, le=MAX_HALF_LIFE_SECONDS)] = Field(
        30 * 86_400, description="Half-life of recency, by `occurred_at`; 30 days unless given."
    )


class ContextBody(Input):
    """What a question is asked in the light of: its vector is moved towards theirs, its words stay."""

    text: Text | None = Field(None, description="A text, such as what was said before.")
    memory_ids: Annotated[list[RequestId], Field(max_length=MAX_CONTEXT)] = Field(
        [], description="Memories. Those that the key does not cover are as good as not named."
    )
    weight: Annotated[Finite, Field(ge=0.0, le=1.0)] = Field(
        0.3, description="How far: 0 leaves the question as it is, 1 leaves the context alone."
    )


class SearchBody(Input):
    """A search."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_SEARCH]})

    query: Text | None = Field(
        None, description="Text to search for. Required, except for a vector search with a `vector`."
    )
    vector: Embedding | None = Field(
        None, description="A vector of the index's model, instead of the embedded query."
    )
    mode: SearchMode = Field(
        SearchMode.HYBRID, description="By meaning (vector), by words (keyword), or by both (hybrid)."
    )
    top_k: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP_K)] = Field(
        10, description="Maximum number of hits."
    )
    filter: FilterBody = Field(FilterBody(), description="Which memories are considered.")
    threshold: ThresholdBody = Field(ThresholdBody(), description="What the parts of a hit's score reach.")
    boost: BoostBody | None = Field(None, description="What is added to scores; null adds nothing.")
    diversity: Annotated[Finite, Field(ge=0.0, le=1.0)] = Field(
        0.0,
        description="How much hits are to differ from each other in meaning; 0 orders by score alone. "
        f"With it, `top_k` is at most {MAX_DIVERSE}.",
    )
    context: ContextBody | None = Field(None, description="What the question is asked in the light of.")
    match: Match = Field(
        Match.WORDS,
        description="How a memory has to say the query: some of its words (words), or, with mode `keyword`, "
        "all of them next to each other in this order (phrase), nothing but the query (exact), or its "
        "characters in a row, within words or across them (substring). A substring is looked for in those "
        "10,000 memories that happened last of all that the filter lets through.",
    )
    case_sensitive: bool = Field(
        False,
        strict=True,
        description="Whether capitals make a difference in a phrase, an exact text or a substring.",
    )
    term_boosts: Annotated[dict[_Term, _TermBoost], Field(max_length=_MAX_TERMS)] = Field(
        default={},
        description="How much words count for `bm25`, by term; 1 is what every word of the query counts. The "
        "words of a term are looked for also if the query lacks them.",
    )

    at: Moment | None = Field(
        None,
        description="Only memories that were there at this time, as the log had it. They are found by what "
        "they hold now, and shown so; those that have gone since are not found.",
    )

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.query is None and (self.vector is None or self.mode is not SearchMode.VECTOR):
            raise broken(ViolationCode.MISSING_FIELD, f"a {self.mode} search wants a `query`")
        if self.vector is not None and self.mode is SearchMode.KEYWORD:
            raise broken(ViolationCode.INVALID_VALUE, "a keyword search has no use for a `vector`")
        if self.context is not None and self.mode is SearchMode.KEYWORD:
            raise broken(ViolationCode.INVALID_VALUE, "a keyword search has no use for a `context`")
        if self.mode is not SearchMode.KEYWORD and self.match is not Match.WORDS:
            raise broken(ViolationCode.INVALID_VALUE, f"`match` `{self.match}` wants the mode `keyword`")
        if self.match is Match.WORDS and self.case_sensitive:
            raise broken(ViolationCode.INVALID_VALUE, "words are compared without their case")
        if self.mode is SearchMode.VECTOR and self.term_boosts:
            raise broken(ViolationCode.INVALID_VALUE, "a vector search has no use for `term_boosts`")
        if self.match is Match.SUBSTRING and self.term_boosts:
            raise broken(ViolationCode.INVALID_VALUE, "a substring has no use for `term_boosts`")
        if self.match is Match.SUBSTRING and self.threshold != ThresholdBody():
            raise broken(
                ViolationCode.INVALID_VALUE, "the score of a substring has no parts for a `threshold`"
            )
        if self.diversity > 0.0 and self.top_k > MAX_DIVERSE:
            raise broken(ViolationCode.OUT_OF_RANGE, f"with `diversity`, `top_k` is at most {MAX_DIVERSE}")
        return self

    def request(self, principal: Principal, policies: TenantPolicies) -> SearchRequest:
        """Return what to ask the index.

        Args:
            principal: Who asks.
            policies: In force for their tenant.

        Raises:
            NamespaceForbiddenError: The key does not reach the namespace or the prefix.
        """
        return SearchRequest(
            tenant=principal.tenant,
            policies=policies,
            text=self.query,
            vector=self.vector,
            mode=self.mode,
            filter=self.filter.within(principal),
            top_k=self.top_k,
            diversity=self.diversity,
            match=self.match,
            case_sensitive=self.case_sensitive,
            term_boosts=self.term_boosts,
            context=None
            if self.context is None
            else Context(self.context.text, tuple(self.context.memory_ids), self.context.weight),
            threshold=Threshold(self.threshold.dense, self.threshold.bm25),
            boost=None
            if self.boost is None
            else Boost(
                self.boost.importance,
                self.boost.recency,
                timedelta(seconds=self.boost.half_life_seconds),
            ),
        )


class SearchBatch(Input):
    """Several searches."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"searches": [_A_SEARCH]}]})

    searches: Annotated[list[SearchBody], Field(min_length=1, max_length=MAX_SEARCHES)] = Field(
        description=f"At most {MAX_SEARCHES}."
    )


def answer_view(
    found: SearchAnswer, policies: TenantPolicies, weak_below: float | None, at: datetime | None
) -> dict[str, Any]:
    """Return what a search found as `AnswerView` describes it.

    Args:
        found: The answer.
        policies: In force for its tenant.
        weak_below: Cosines below are little nearness.
        at: When memories had to be there; None: now.
    """
    hits = [hit_view(hit, policies, weak_below) for hit in found.hits]
    return {"hits": hits, "exhaustive": found.exhaustive, "at": at}


def hit_view(hit: SearchHit, policies: TenantPolicies, weak_below: float | None) -> dict[str, Any]:
    """Return a hit as `HitView` describes it.

    Args:
        hit: The hit.
        policies: In force for its tenant.
        weak_below: Cosines below are little nearness.
    """
    return {
        "score": hit.score,
        "explanation": hit.explanation,
        "weak": hit.explanation.is_weak(weak_below),
        "memory": memory_view(hit.memory, policies),
        "version_at": hit.version_at,
    }
