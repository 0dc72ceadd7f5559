"""Retention policies as requests."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
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
