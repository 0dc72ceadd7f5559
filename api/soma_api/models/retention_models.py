"""Retention policies as requests and responses."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from soma_api.models.requests import Input
from soma_schemas.events import Decay, RetentionRule, SizeCap
from soma_schemas.fields import Kind, broken
from soma_schemas.retention import faded_seconds
from soma_schemas.violations import ViolationCode

_A_RULE: JsonDict = {"kind": "EPISODIC", "ttl_seconds": 2592000, "notice_seconds": 86400, "archive": True}
_A_DECAY: JsonDict = {
    "kind": "SEMANTIC",
    "ttl_seconds": 11202437,
    "notice_seconds": 86400,
    "archive": False,
    "decay": {"half_life_seconds": 2592000, "floor": 0.05},
}
_A_CAP: JsonDict = {"max_memories": 10000, "notice_seconds": 0, "archive": True}
_A_POLICY: JsonDict = {
    "namespace": "assistant/ada",
    "rules": [_A_RULE],
    "cap": _A_CAP,
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


_Notice = Annotated[
    int,
    Field(
        strict=True, ge=0, lt=2**40, description="How long before the end `memory.expiring` tells; 0: never."
    ),
]
_Archive = Annotated[bool, Field(description="Whether the last state goes to `memory.expired`.")]


class RuleBody(Input):
    """How long memories of one kind, or of every kind, are kept after their last change.

    With a decay a memory is kept until its importance, halved with each half-life, is down to the floor.
    """

    kind: Kind | None = Field(None, description="null: every kind that no other rule names.")
    ttl_seconds: Annotated[int, Field(strict=True, ge=1, lt=2**40)] | None = Field(
        None, description="How long at most; null: as long as the decay keeps what matters most."
    )
    notice_seconds: _Notice = 0
    archive: _Archive = False
    decay: Decay | None = Field(
        None,
        description="Keeps a memory the shorter the less important it is, and its notice period at least.",
    )

    def rule(self) -> RetentionRule:
        """Return what it says."""
        ttl_seconds = self.ttl_seconds
        if ttl_seconds is None and self.decay is not None:
            ttl_seconds = max(1, self.notice_seconds, faded_seconds(self.decay, 1.0))
        return RetentionRule.model_validate(self.model_dump() | {"ttl_seconds": ttl_seconds})

    @model_validator(mode="after")
    def _ends_something(self) -> Self:
        if self.ttl_seconds is None and self.decay is None:
            raise broken(ViolationCode.MISSING_FIELD, "a rule has `ttl_seconds`, a `decay` or both")
        return self


class CapBody(SizeCap):
    """How many memories each namespace may have. Above, the least important go, of those the oldest."""

    notice_seconds: _Notice = 0
    archive: _Archive = False


class _Rules(Input):
    cap: CapBody | None = Field(None, description="null: the next policy above decides.")

    @model_validator(mode="after")
    def _one_rule_a_kind(self) -> Self:
        kinds = [rule.kind for rule in getattr(self, "rules", ())]
        if len(set(kinds)) != len(kinds):
            raise broken(ViolationCode.INVALID_VALUE, "two rules are for the same kind")
        return self


class PolicyBody(_Rules):
    """A whole policy: it replaces the one that was."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rules": [_A_RULE, _A_DECAY], "cap": _A_CAP}]})

    rules: Annotated[list[RuleBody], Field(max_length=3)] = Field(
        [], description="A rule or a cap is needed."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.rules and self.cap is None:
            raise broken(ViolationCode.INVALID_VALUE, "a policy has a rule or a cap")
        return self


class PlanBody(_Rules):
    """A policy that is not set."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rules": [_A_RULE]}]})

    rules: Annotated[list[RuleBody], Field(max_length=3)] = Field(
        [], description="None, and no cap: as if it were lifted."
    )


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
