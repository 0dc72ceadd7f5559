"""Which retention rule a memory is under, and when it ends: pure, and the same for whoever asks.

The order: the memory's own deadline; the policy of its namespace, or of the nearest one above that has a rule
for it; the policy of the tenant; none. Within a policy the rule of the memory's kind goes before the one for
all others.

Beside deadlines a policy may have a cap. That of a namespace, or of the nearest one above that has one, or of
the tenant, says how many memories the namespace may have by itself, without those below it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from soma_schemas.events import RetentionRule, SizeCap
from soma_schemas.fields import Kind
from soma_schemas.moments import EPOCH
from soma_schemas.namespaces import ancestors, contains


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a memory ends, and what its end brings with it.

    Attributes:
        at: From this moment on nobody is shown it, UTC.
        notice_at: From when on `memory.expiring` may tell of it; `at` itself where no notice is wanted.
        archive: Whether the last state goes to `memory.expired`.
        by_policy: Whether a policy set it; else the memory brought it along.
    """

    at: datetime
    notice_at: datetime
    archive: bool
    by_policy: bool


class Aging(Protocol):
    """What decides when a memory ends, beside the policies; content of a memory has it."""

    @property
    def namespace(self) -> str:
        """Of the memory."""
        ...

    @property
    def kind(self) -> Kind:
        """Of the memory."""
        ...

    @property
    def expires_at(self) -> datetime | None:
        """Its own deadline."""
        ...

    @property
    def updated_at(self) -> datetime:
        """When it last changed."""
        ...


@dataclass(frozen=True, slots=True)
class Reach:
    """The memories of one kind that one rule of a policy decides about.

    Attributes:
        namespace: The policy's, with all below it; None is the whole tenant.
        kind: Of the memories.
        rule: What decides.
        except_below: Namespaces inside of it that another policy decides about, with all below them.
    """

    namespace: str | None
    kind: Kind
    rule: RetentionRule
    except_below: tuple[str, ...]

    def cutoff(self, now: datetime) -> datetime | None:
        """Return the last change at which its memories have ended, as `cutoff_of` does."""
        return cutoff_of(self.rule, now)


class TenantPolicies:
    """The policies in force of one tenant.

    Args:
        policies: The rules by namespace; None is the whole tenant.
        caps: Of those policies that have one.
    """

    def __init__(
        self,
        policies: Mapping[str | None, Iterable[RetentionRule]],
        caps: Mapping[str | None, SizeCap] | None = None,
    ) -> None:
        self._caps = dict(caps or {})
        self._rules: dict[Kind, dict[str | None, RetentionRule]] = {kind: {} for kind in Kind}
        for namespace, rules in policies.items():
            by_kind = {rule.kind: rule for rule in rules}
            for kind in Kind:
                rule = by_kind.get(kind) or by_kind.get(None)
                if rule is not None:
                    self._rules[kind][namespace] = rule

    def rule_for(self, namespace: str, kind: Kind) -> RetentionRule | None:
        """Return the rule that decides about memories of a namespace and kind, or None."""
        rules = self._rules[kind]
        for place in (*reversed(ancestors(namespace)), None):
            if (rule := rules.get(place)) is not None:
                return rule
        return None

    @property
    def caps(self) -> bool:
        """Say whether any namespace has a cap."""
        return bool(self._caps)

    def cap_for(self, namespace: str) -> SizeCap | None:
        """Return how many memories a namespace may have, or None when it may have any number."""
        for place in (*reversed(ancestors(namespace)), None):
            if (cap := self._caps.get(place)) is not None:
                return cap
        return None

    def deadline_of(self, content: Aging) -> Deadline | None:
        """Return when a memory ends, or None when it is kept.

        By a policy it ends `ttl_seconds` after its last change (`updated_at`).
        """
        rule = self.rule_for(content.namespace, content.kind)
        at = content.expires_at
        if at is None and rule is not None:
            at = _later(content.updated_at, rule.ttl_seconds)
        if at is None:
            return None
        if rule is None:
            return Deadline(at, at, archive=False, by_policy=False)
        return Deadline(
            at,
            notice_at=_later(at, -rule.notice_seconds) or EPOCH,
            archive=rule.archive,
            by_policy=content.expires_at is None,
        )

    def reaches(self) -> list[Reach]:
        """Return about which memories each rule decides; no memory is in two of them."""
        return [
            Reach(namespace, kind, rule, _nearest_below(namespace, rules))
            for kind, rules in self._rules.items()
            for namespace, rule in rules.items()
        ]


def cutoff_of(rule: RetentionRule, now: datetime) -> datetime | None:
    """Return the last change at which memories without a deadline of their own have ended, or None.

    None: the calendar does not go back so far, so none has.
    """
    return _later(now, -rule.ttl_seconds)


def _later(moment: datetime, seconds: int) -> datetime | None:
    """Return a time so much later, or None where the calendar has none."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _nearest_below(namespace: str | None, rules: Mapping[str | None, RetentionRule]) -> tuple[str, ...]:
    below = [
        other
        for other in rules
        if other is not None and other != namespace and (namespace is None or contains(namespace, other))
    ]
    return tuple(
        sorted(each for each in below if not any(contains(other, each) for other in below if other != each))
    )
