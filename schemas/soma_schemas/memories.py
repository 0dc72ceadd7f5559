"""What a memory holds: the one table of its fields, which stores and filters follow, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple, get_type_hints
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_schemas.fields import Kind


class Traits(NamedTuple):
    """What stores do with a field of a memory, beside its type in Python.

    Attributes:
        column: Its type in table `memories`, where it has the same name.
        by_log: Whether the platform knows it by the log; others are said by whoever stores the memory.
        in_history: Whether the history tells what an event said of it.
        equal: Whether lists and searches ask for it by equality; in the vector index it is a label.
    """

    column: str
    by_log: bool = False
    in_history: bool = False
    equal: bool = False


@dataclass(slots=True)
class Content:
    """What a living memory holds.

    Nobody changes one once it is made. What can be null and can be patched can be cleared.

    Attributes:
        payload: A JSON object as text.
        embedding: The producer's own vector, or None: made from the text.
        subject: The person whom the memory is about.
        source: Where the memory comes from: a URI, a conversation, a file.
        occurred_at: The producer's word on when it happened.
        updated_at: When the log received the last change, UTC.
    """

    namespace: Annotated[str, Traits("text")]
    key: Annotated[str | None, Traits("text", in_history=True, equal=True)]
    coordinate: Annotated[tuple[float, ...] | None, Traits("double precision[]", in_history=True)]
    kind: Annotated[Kind, Traits("text", in_history=True, equal=True)]
    text: Annotated[str, Traits("text", in_history=True)]
    payload: Annotated[str, Traits("jsonb", in_history=True)]
    tags: Annotated[tuple[str, ...], Traits("text[]", in_history=True)]
    importance: Annotated[float, Traits("double precision", in_history=True)]
    embedding: Annotated[tuple[float, ...] | None, Traits("real[]")]  # long: the history leaves it out
    embedding_model: Annotated[str | None, Traits("text", in_history=True)]
    subject: Annotated[str | None, Traits("text", in_history=True, equal=True)]
    source: Annotated[str | None, Traits("text", in_history=True, equal=True)]
    expires_at: Annotated[datetime | None, Traits("timestamptz", in_history=True)]
    occurred_at: Annotated[datetime, Traits("timestamptz")]
    actor: Annotated[str, Traits("text")]
    created_at: Annotated[datetime, Traits("timestamptz", by_log=True)]
    updated_at: Annotated[datetime, Traits("timestamptz", by_log=True)]
    access_count: Annotated[int, Traits("bigint", by_log=True)] = 0
    last_accessed_at: Annotated[datetime | None, Traits("timestamptz", by_log=True)] = None


FIELDS: dict[str, Traits] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Content, include_extras=True).items()
}
SAID = tuple(name for name, traits in FIELDS.items() if not traits.by_log)
IN_HISTORY = tuple(name for name, traits in FIELDS.items() if traits.in_history)
EQUAL = tuple(name for name, traits in FIELDS.items() if traits.equal)
MOMENTS = tuple(name for name, traits in FIELDS.items() if traits.column == "timestamptz")
# The columns in the order of the fields, as a statement selects them.
SELECTED = ", ".join(f"{name}::text" if each.column == "jsonb" else name for name, each in FIELDS.items())


def content_of(values: Sequence[Any]) -> Content:
    """Return content of values in the order of its fields; the last two may be missing.

    Lists may stand for tuples, and texts for kinds.
    """
    content = Content(*values)
    content.kind = Kind(content.kind)
    content.tags = tuple(content.tags)
    if content.coordinate is not None:
        content.coordinate = tuple(content.coordinate)
    if content.embedding is not None:
        content.embedding = tuple(content.embedding)
    return content


A_MEMORY: JsonDict = {
    "memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
    "version": 1099511628818,
    "namespace": "assistant/ada",
    "key": "preferences/tea",
    "coordinate": None,
    "kind": "SEMANTIC",
    "text": "Ada prefers tea at four.",
    "payload": {"channel": "chat", "confidence": 0.9},
    "tags": ["preference", "tea"],
    "importance": 0.7,
    "subject": None,
    "source": "https://chat.example/ada/42",
    "actor": "key:fb3686b0e4e9e8ba",
    "embedding_model": None,
    "occurred_at": "2026-03-02T09:00:00Z",
    "created_at": "2026-03-02T09:00:00.123000Z",
    "updated_at": "2026-03-02T09:00:00.123000Z",
    "expires_at": None,
    "ends_at": "2026-05-31T09:00:00.123000Z",
    "access_count": 0,
    "last_accessed_at": None,
}


class MemoryView(BaseModel):
    """A memory as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [A_MEMORY]})

    memory_id: UUID = Field(description="Names it within the tenant.")
    version: int = Field(description="Of its last change; grows with each. Also the `ETag`.")
    namespace: str
    key: str | None
    coordinate: list[float] | None
    kind: Kind
    text: str
    payload: dict[str, Any]
    tags: list[str]
    importance: float
    subject: str | None
    source: str | None = Field(description="Where it comes from.")
    actor: str = Field(description="Who or what changed it last.")
    embedding_model: str | None = Field(description="Set when the embedding came with the memory.")
    occurred_at: datetime = Field(description="When it happened, by the producer's word.")
    created_at: datetime = Field(description="When the log received it first.")
    updated_at: datetime = Field(description="When the log received the last change.")
    expires_at: datetime | None = Field(description="Its own deadline.")
    ends_at: datetime | None = Field(
        None,
        description="When it ends: at `expires_at`, or where that is null, as the retention policy in force "
        "says, which may change without the memory; null: it is kept. A cap may end it before.",
    )
    access_count: int
    last_accessed_at: datetime | None
    embedding: list[float] | None = Field(
        None, description="Only with `embeddings=true`: the vector that came with the memory, or null."
    )
