"""Which retention rule a memory is under, and when it ends: pure, and the same for whoever asks.

The order: the memory's own deadline; the policy of its namespace, or of the nearest one above that has a rule
for it; the policy of the tenant; none. Within a policy the rule of the memory's kind goes before the one for
all others.

A rule keeps a memory for some time after its last change. With a decay that time is shorter the less
important the memory is: it is over when the importance, halved with each half-life, is down to the floor.

Beside deadlines a policy may have a cap. That of a namespace, or of the nearest one above that has one, or of
the tenant, says how many memories the namespace may have by itself, without those below it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol, Self

from soma_schemas.events import Decay, RetentionRule, SizeCap
from soma_schemas.fields import Kind
from soma_schemas.moments import EPOCH
from soma_schemas.namespaces import ancestors, contains

_LAST = datetime.max.replace(tzinfo=UTC)


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

    @property
    def importance(self) -> float:
        """How important it was when it last changed, 0 to 1."""
        ...


class Limits(NamedTuple):
    """How long a rule keeps a memory, as the database's `soma_cutoff` takes it.

    Attributes:
        cutoff: What has not changed since has ended, whatever its importance; None where the calendar does
            not go back so far.
        half_life: Of the importance, in seconds; None without a decay.
        floor: Of the importance; None without a decay.
        shortest: Seconds that also the least important memory is kept; None without a decay.
    """

    cutoff: datetime | None
    half_life: int | None
    floor: float | None
    shortest: int | None


def as_columns(limits: Sequence[Limits]) -> dict[str, list[Any]]:
    """Return limits as arrays for a statement: `cutoffs`, `half_lives`, `floors` and `shortest`."""
    return {
        "cutoffs": [each.cutoff for each in limits],
        "half_lives": [each.half_life for each in limits],
        "floors": [each.floor for each in limits],
        "shortest": [each.shortest for each in limits],
    }


_ENDS_NOTHING = Limits(None, None, None, None)


@dataclass(frozen=True, slots=True)
class RuleInForce:
    """A rule, with the moment from which on it ends memories.

    Attributes:
        rule: What was said.
        ends_from: When it was set, and the notice period after it: what it would end before ends then.
    """

    rule: RetentionRule
    ends_from: datetime

    @classmethod
    def since(cls, set_at: datetime, rule: RetentionRule) -> Self:
        """Return a rule that was set at a time."""
        return cls(rule, _later(set_at, rule.notice_seconds) or _LAST)

    def lifetime_seconds(self, importance: float) -> int:
        """Return how long after its last change a memory of this importance is kept."""
        rule = self.rule
        if rule.decay is None:
            return rule.ttl_seconds
        return min(rule.ttl_seconds, max(rule.notice_seconds, faded_seconds(rule.decay, importance)))

    def limits(self, now: datetime) -> Limits:
        """Return how long it keeps memories, counted back from a time."""
        rule, decay = self.rule, self.rule.decay
        cutoff = _later(now, -rule.ttl_seconds)
        if decay is None:
            return Limits(cutoff, None, None, None)
        return Limits(cutoff, decay.half_life_seconds, decay.floor, rule.notice_seconds)

    def ended(self, now: datetime) -> Limits:
        """Return which memories without a deadline of their own it has ended by a time."""
        return self.limits(now) if now >= self.ends_from else _ENDS_NOTHING


@dataclass(frozen=True, slots=True)
class Reach:
    """The memories of one kind that one rule of a policy decides about.

    Attributes:
        namespace: The policy's, with all below it; None is the whole tenant.
        kind: Of the memories.
        decides: The rule.
        except_below: Namespaces inside of it that another policy decides about, with all below them.
    """

    namespace: str | None
    kind: Kind
    decides: RuleInForce
    except_below: tuple[str, ...]


class TenantPolicies:
    """The policies in force of one tenant.

    Args:
        policies: The rules by namespace; None is the whole tenant.
        caps: Of those policies that have one.
        set_at: When they were set; one that is not named has been in force for ever.
    """

    def __init__(
        self,
        policies: Mapping[str | None, Iterable[RetentionRule]],
        caps: Mapping[str | None, SizeCap] | None = None,
        set_at: Mapping[str | None, datetime] | None = None,
    ) -> None:
        self._caps = dict(caps or {})
        self._rules: dict[Kind, dict[str | None, RuleInForce]] = {kind: {} for kind in Kind}
        for namespace, rules in policies.items():
            by_kind = {rule.kind: rule for rule in rules}
            since = (set_at or {}).get(namespace, EPOCH)
            for kind in Kind:
                rule = by_kind.get(kind) or by_kind.get(None)
                if rule is not None:
                    self._rules[kind][namespace] = RuleInForce.since(since, rule)

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[str, Iterable[Any], Any, datetime]]) -> Self:
        """Return the policies of a tenant as `retention_policies` has them.

        Args:
            rows: The columns `namespace`, `rules`, `cap` and `set_at`.
        """
        held = [(namespace or None, rules, cap, set_at) for namespace, rules, cap, set_at in rows]
        return cls(
            {namespace: list(map(RetentionRule.model_validate, rules)) for namespace, rules, _, _ in held},
            {namespace: SizeCap.model_validate(cap) for namespace, _, cap, _ in held if cap is not None},
            {namespace: set_at for namespace, _, _, set_at in held},
        )

    def rule_for(self, namespace: str, kind: Kind) -> RuleInForce | None:
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

        By a policy it ends so long after its last change as its rule keeps it, and not before the rule ends
        anything.
        """
        decides = self.rule_for(content.namespace, content.kind)
        at = content.expires_at
        if at is None and decides is not None:
            at = _later(content.updated_at, decides.lifetime_seconds(content.importance))
            at = at and max(at, decides.ends_from)
        if at is None:
            return None
        if decides is None:
            return Deadline(at, at, archive=False, by_policy=False)
        return Deadline(
            at,
            notice_at=_later(at, -decides.rule.notice_seconds) or EPOCH,
            archive=decides.rule.archive,
            by_policy=content.expires_at is None,
        )

    def reaches(self) -> list[Reach]:
        """Return about which memories each rule decides; no memory is in two of them."""
        return [
            Reach(namespace, kind, decides, _nearest_below(namespace, rules))
            for kind, rules in self._rules.items()
            for namespace, decides in rules.items()
        ]

    @property
    def decays(self) -> bool:
        """Say whether the importance of any memory decides when it ends."""
        return any(
            decides.rule.decay is not None for rules in self._rules.values() for decides in rules.values()
        )


def faded_seconds(decay: Decay, importance: float) -> int:
    """Return in how many seconds an importance comes down to the floor of a decay; at the floor 0.

    Importance counts in hundredths, so that the database has few lifetimes to look for. It computes the same.
    """
    counted = max(round(importance * 100) / 100, decay.floor)
    halvings = math.log(counted / decay.floor) / math.log(2)
    # Two machines may differ in the last digit of a logarithm: that must not decide between two seconds.
    return math.floor(decay.half_life_seconds * halvings + 0.001)


def _later(moment: datetime, seconds: int) -> datetime | None:
    """Return a time so much later, or None where the calendar has none."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _nearest_below(namespace: str | None, rules: Mapping[str | None, RuleInForce]) -> tuple[str, ...]:
    below = [
        other
        for other in rules
        if other is not None and other != namespace and (namespace is None or contains(namespace, other))
    ]
    return tuple(
        sorted(each for each in below if not any(contains(other, each) for other in below if other != each))
    )
