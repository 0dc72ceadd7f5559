"""Retention policies as the API answers them."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_schemas.events import RetentionRule, SizeCap
from soma_schemas.fields import Kind

_A_POLICY: JsonDict = {
    "namespace": "assistant/ada",
    "rules": [{"kind": "EPISODIC", "ttl_seconds": 2592000, "notice_seconds": 86400, "archive": True}],
    "cap": {"max_memories": 10000, "notice_seconds": 0, "archive": True},
    "actor": "key:fb3686b0e4e9e8ba",
    "set_at": "2026-03-02T09:00:00Z",
}
_A_PLAN: JsonDict = {
    "due_now": 12,
    "due_within_1_day": 12,
    "due_within_7_days": 40,
    "due_within_30_days": 210,
    "samples": [
        {
            "memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
            "namespace": "assistant/ada",
            "key": "preferences/tea",
            "kind": "EPISODIC",
            "text": "Ada prefers tea at four.",
            "updated_at": "2026-01-30T09:00:00Z",
            "ends_at": "2026-03-01T09:00:00Z",
        }
    ],
    "above_cap": 1,
    "above_cap_samples": [
        {
            "memory_id": "0f5b2c1e-8a49-5d7f-9c3a-7e1d2b4c6a80",
            "namespace": "assistant/ada/chats",
            "key": None,
            "kind": "EPISODIC",
            "text": "Ada said good morning.",
            "updated_at": "2026-02-28T09:00:00Z",
            "importance": 0.1,
        }
    ],
}


class PolicyView(BaseModel):
    """A policy in force."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_POLICY]})

    namespace: str | None = Field(description="With all below it; null is the whole tenant.")
    rules: list[RetentionRule]
    cap: SizeCap | None
    actor: str = Field(description="Who set it.")
    set_at: datetime


class PoliciesView(BaseModel):
    """The policies in force, in the order of their namespaces."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"policies": [_A_POLICY]}]})

    policies: list[PolicyView]


class PolicyChangeView(BaseModel):
    """An accepted change of a policy."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": "019cae6b-6600-7fa0-8f68-19c5e504777e",
                    "namespace": "assistant/ada",
                    "position": "0:17",
                    "in_force": True,
                }
            ]
        }
    )

    event_id: UUID = Field(description="Names the change; as `Idempotency-Key` it makes a retry harmless.")
    namespace: str | None
    position: str = Field(description="`partition:offset` in `memory.policies`.")
    in_force: bool | None = Field(description="null until it is known; only with `Prefer: wait`.")


class EndingMemory(BaseModel):
    """A memory that a policy would end, with the beginning of its text."""

    memory_id: UUID
    namespace: str
    key: str | None
    kind: Kind
    text: str
    updated_at: datetime
    ends_at: datetime


class SurplusMemory(BaseModel):
    """A memory above the cap of its namespace, with the beginning of its text."""

    memory_id: UUID
    namespace: str
    key: str | None
    kind: Kind
    text: str
    updated_at: datetime
    importance: float


class PlanView(BaseModel):
    """What a policy would end if it were set now. A rule ends no memory with a deadline of its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_PLAN]})

    due_now: int = Field(description="Memories that would be gone at once.")
    due_within_1_day: int
    due_within_7_days: int
    due_within_30_days: int
    samples: list[EndingMemory] = Field(description="Those that would go first.")
    above_cap: int = Field(description="Memories above the cap: gone soon, or after its notice period.")
    above_cap_samples: list[SurplusMemory] = Field(description="Those of them that would go first.")
