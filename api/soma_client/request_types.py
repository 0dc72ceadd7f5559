"""What calls take, as typed dictionaries: the bodies of the OpenAPI document, whose defaults hold."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Required
from uuid import UUID

from typing_extensions import TypedDict  # typing's own cannot be validated before Python 3.12

from soma_schemas.fields import Kind

KindName = Kind | Literal["EPISODIC", "SEMANTIC"]
DirectionName = Literal["out", "in", "both"]
CostName = Literal["weight", "inverse_weight", "hops"]
ModeName = Literal["hybrid", "vector", "keyword"]
MatchName = Literal["words", "phrase", "exact", "substring"]
StatusName = Literal["open", "replayed", "discarded", "all"]
StageName = Literal["decode", "validate", "write"]
OrderName = Literal[
    "updated_at",
    "-updated_at",
    "created_at",
    "-created_at",
    "occurred_at",
    "-occurred_at",
    "importance",
    "-importance",
    "distance",
]


class MemoryState(TypedDict, total=False):
    """What a memory holds beside its name and its text.

    Attributes:
        kind: EPISODIC unless given.
        payload: Any JSON object.
        tags: Labels to filter by.
        importance: 0 to 1; 0.5 unless given.
        embedding: Your own vector; None: the text is embedded.
        embedding_model: The model that made it.
        subject: The person whom the memory is about, for erasure.
        source: Where it comes from: a URI, a conversation, a file.
        occurred_at: When it happened, with a time zone; None is now.
        expires_at: When it ends, with a time zone; None: the retention policy decides.
        actor: Who or what caused it; None is the API key.
        expected_version: Only onto this version, 0: only where there is none.
    """

    kind: KindName
    payload: Mapping[str, Any]
    tags: Sequence[str]
    importance: float
    embedding: Sequence[float] | None
    embedding_model: str | None
    subject: str | None
    source: str | None
    occurred_at: datetime | str | None
    expires_at: datetime | str | None
    actor: str | None
    expected_version: int | None


class MemoryFields(MemoryState, total=False):
    """A memory to be stored: its whole state, and what names it."""

    namespace: Required[str]
    text: Required[str]
    key: str | None
    coordinate: Sequence[float] | None
    memory_id: UUID | str | None
    event_id: UUID | str | None


class MemoryChanges(TypedDict, total=False):
    """Fields of a memory to be changed: None clears where that is possible, `payload` merges."""

    text: str
    kind: KindName
    payload: Mapping[str, Any]
    tags: Sequence[str]
    importance: float
    embedding: Sequence[float] | None
    embedding_model: str | None
    subject: str | None
    source: str | None
    expires_at: datetime | str | None
    actor: str | None


class PayloadRange(TypedDict, total=False):
    """Bounds of a number in the payload."""

    gte: float
    gt: float
    lte: float
    lt: float


class SearchFilter(TypedDict, total=False):
    """The memories that a search considers."""

    namespace: str
    namespace_prefix: str
    kind: KindName
    subject: str
    source: str
    occurred_from: datetime | str
    occurred_before: datetime | str
    created_from: datetime | str
    created_before: datetime | str
    updated_from: datetime | str
    updated_before: datetime | str
    memory_ids: Sequence[UUID | str]
    key: str
    tags: Sequence[str]
    tags_any: Sequence[str]
    importance_min: float
    importance_max: float
    payload: Mapping[str, Any]
    payload_ranges: Mapping[str, PayloadRange]
    coordinate_min: Sequence[float]
    coordinate_max: Sequence[float]
    where: Mapping[str, Any]


class Threshold(TypedDict, total=False):
    """The least that parts of a hit's score may be."""

    dense: float | None
    bm25: float | None


class Boost(TypedDict, total=False):
    """What is added to scores."""

    importance: float
    recency: float
    half_life_seconds: int


class Context(TypedDict, total=False):
    """What a question is asked in the light of."""

    text: str | None
    memory_ids: Sequence[UUID | str]
    weight: float


class Search(TypedDict, total=False):
    """One search of several."""

    query: str | None
    vector: Sequence[float]
    mode: ModeName
    top_k: int
    filter: SearchFilter
    threshold: Threshold
    boost: Boost
    diversity: float
    context: Context
    match: MatchName
    case_sensitive: bool
    term_boosts: Mapping[str, float]
    at: datetime | str


class Decay(TypedDict):
    """How importance decays."""

    half_life_seconds: int
    floor: float


class Rule(TypedDict, total=False):
    """How long memories of a kind, or of every kind, are kept after their last change."""

    kind: KindName | None
    ttl_seconds: int | None
    notice_seconds: int
    archive: bool
    decay: Decay | None


class Cap(TypedDict, total=False):
    """How many memories each namespace may have."""

    max_memories: Required[int]
    notice_seconds: int
    archive: bool
