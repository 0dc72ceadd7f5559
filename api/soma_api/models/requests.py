"""Request bodies about memories; the fields and their rules are those of the events."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic.config import JsonDict

from soma_schemas.events import PatchField
from soma_schemas.fields import (
    Coordinate,
    Embedding,
    ExpectedVersion,
    Importance,
    Key,
    Kind,
    Moment,
    Name,
    Namespace,
    Source,
    Tags,
    Tenant,
    Text,
    Weight,
    broken,
    check_json_object,
    limits_of,
)
from soma_schemas.identity import identified
from soma_schemas.memories import SAID
from soma_schemas.violations import ViolationCode


def _json_object(value: object) -> object:
    check_json_object(value)
    return value


def _spelled(value: object) -> object:
    # pydantic would take numbers for ids.
    if value is not None and not isinstance(value, str):
        raise broken(ViolationCode.WRONG_TYPE, "is not a string")
    return value


JsonObject = Annotated[dict[str, Any], BeforeValidator(_json_object)]
RequestId = Annotated[UUID, BeforeValidator(_spelled)]

_A_STORE: JsonDict = {
    "namespace": "assistant/ada",
    "text": "Ada prefers tea at four.",
    "key": "preferences/tea",
    "kind": "SEMANTIC",
    "payload": {"channel": "chat", "confidence": 0.9},
    "tags": ["preference", "tea"],
    "importance": 0.7,
    "source": "https://chat.example/ada/42",
}
_A_STATE: JsonDict = {"text": "Ada prefers tea at four.", "kind": "SEMANTIC", "tags": ["preference", "tea"]}
_A_PATCH: JsonDict = {"importance": 0.9, "payload": {"confidence": 1.0, "channel": None}}


class Input(BaseModel):
    """A request body."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MemoryState(Input):
    """The whole state of a memory, whatever names it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_STATE]})

    text: Text = Field(description="What is remembered, in words.")
    kind: Kind = Field(Kind.EPISODIC, description="Something that happened, or something that is known.")
    payload: JsonObject = Field(
        default={}, description="Any JSON object. Integers are kept as they are, other numbers as doubles."
    )
    tags: Tags = Field(default=[], description="Labels to filter by.")
    importance: Importance = Field(0.5, description="0 to 1.")
    embedding: Embedding | None = Field(None, description="Your own vector; left out, the text is embedded.")
    embedding_model: Name | None = Field(None, description="The model that made the embedding.")
    subject: Name | None = Field(None, description="The person whom the memory is about, for erasure.")
    source: Source | None = Field(
        None, description="Where the memory comes from: a URI, a conversation, a file."
    )
    occurred_at: Moment | None = Field(None, description="When it happened; left out, now.")
    expires_at: Moment | None = Field(
        None, description="When it ends; left out, the retention policy decides."
    )
    actor: Name | None = Field(None, description="Who or what caused it; left out, the API key.")
    expected_version: ExpectedVersion | None = Field(
        None, description="Apply only onto this version; 0: only when there is none. As `If-Match` does."
    )
    tenant: Tenant | None = Field(None, description="Comes from the key; another one is refused.")


class StoreMemory(MemoryState):
    """A memory to be stored: its whole state, and what names it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_STORE]})

    namespace: Namespace = Field(description="Path: 1 to 16 segments joined by `/`.")
    key: Key | None = Field(None, description="Names the memory in its namespace; storing again replaces it.")
    coordinate: Coordinate | None = Field(None, description="Names the memory by a place, instead of a key.")
    memory_id: RequestId | None = Field(
        None, description="Only for a memory with neither key nor coordinate; left out, one is made."
    )

    def fields(
        self, *, tenant: str, event_id: UUID, memory_id: UUID, now: Any, actor: str, expected: int | None
    ) -> dict[str, Any]:
        """Return the fields of the event that stores it."""
        return {name: getattr(self, name) for name in SAID} | {
            "event_id": event_id,
            "tenant": tenant,
            "memory_id": memory_id,
            "occurred_at": self.occurred_at or now,
            "actor": self.actor or actor,
            "payload": json.dumps(self.payload, ensure_ascii=False),
            "expected_version": expected,
        }

    def named(self, tenant: str) -> UUID | None:
        """Return the id that its key or coordinate gives, or None when it has neither."""
        return identified(tenant, self.namespace, self.key, self.coordinate)


class BatchItem(StoreMemory):
    """One memory of a batch."""

    event_id: RequestId | None = Field(
        None, description="Names the event; give the same one when trying again. Left out, one is made."
    )


def _not_too_many(items: list[BatchItem], info: ValidationInfo) -> list[BatchItem]:
    most = limits_of(info).batch_items
    if len(items) > most:
        raise broken(ViolationCode.TOO_MANY, f"has {len(items)} items, at most {most} are allowed")
    return items


class StoreBatch(Input):
    """Memories to be stored together: all are sent, or, when one is wrong, none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"memories": [_A_STORE]}]})

    memories: Annotated[list[BatchItem], Field(min_length=1), AfterValidator(_not_too_many)] = Field(
        description="At least one."
    )


class PatchMemory(Input):
    """A change: fields that are left out stay, null clears where that is possible, `payload` merges."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_PATCH]})

    text: Text | None = Field(None, description="A new text; its embedding is made anew.")
    kind: Kind | None = Field(None, description="Something that happened, or something that is known.")
    payload: JsonObject | None = Field(None, description="Merged into the payload (RFC 7396).")
    tags: Tags | None = Field(None, description="All tags from now on.")
    importance: Importance | None = Field(None, description="0 to 1.")
    embedding: Embedding | None = Field(None, description="Your own vector; null: the text is embedded.")
    embedding_model: Name | None = Field(None, description="The model that made the embedding.")
    subject: Name | None = Field(None, description="The person whom it is about; null clears.")
    source: Source | None = Field(None, description="Where it comes from; null clears.")
    expires_at: Moment | None = Field(None, description="When it ends; null: the policy decides.")
    actor: Name | None = Field(None, description="Who or what changes it; left out, the API key.")
    namespace: Namespace | None = Field(
        None, description="Namespace of the memory; required only while it is not visible yet."
    )
    expected_version: ExpectedVersion | None = Field(None, description="Change only this version.")
    tenant: Tenant | None = Field(None, description="Comes from the key; another one is refused.")

    @model_validator(mode="before")
    @classmethod
    def _changes_something(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not any(field in value for field in PatchField):
            raise broken(ViolationCode.INVALID_PATCH, "names no field to change")
        return value

    def fields(
        self,
        *,
        tenant: str,
        namespace: str,
        event_id: UUID,
        memory_id: UUID,
        now: Any,
        actor: str,
        expected: int | None,
    ) -> dict[str, Any]:
        """Return the fields of the event that makes this change."""
        named = [field for field in PatchField if field.value in self.model_fields_set]
        payload = None if self.payload is None else json.dumps(self.payload, ensure_ascii=False)
        values = {field.value: getattr(self, field.value) for field in PatchField} | {"payload": payload}
        return {
            "event_id": event_id,
            "tenant": tenant,
            "namespace": namespace,
            "memory_id": memory_id,
            "occurred_at": now,
            "actor": self.actor or actor,
            "fields": named,
            **values,
            "embedding_model": self.embedding_model,
            "expected_version": expected,
        }


class PutLink(Input):
    """An edge from one memory to another."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": "about", "weight": 0.8}]})

    type: Name = Field(description="What the edge says; there is one edge of a type between two memories.")
    weight: Weight = Field(1.0, description="0 or more.")
    namespace: Namespace | None = Field(
        None, description="Namespace of the memory; required only while it is not visible yet."
    )
    tenant: Tenant | None = Field(None, description="Comes from the key; another one is refused.")
