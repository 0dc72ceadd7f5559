"""Which rule decides about a memory, and when it ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.events import Decay, RetentionRule, SizeCap
from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.namespaces import contains
from soma_schemas.retention import Deadline, Limits, RuleInForce, TenantPolicies

CHANGED = datetime(2026, 3, 2, 9, tzinfo=UTC)
OWN = datetime(2026, 4, 1, tzinfo=UTC)


def a_rule(
    ttl: int,
    kind: Kind | None = None,
    *,
    notice: int = 0,
    archive: bool = False,
    decay: tuple[int, float] | None = None,
) -> RetentionRule:
    fades = None if decay is None else Decay(half_life_seconds=decay[0], floor=decay[1])
    return RetentionRule(kind=kind, ttl_seconds=ttl, notice_seconds=notice, archive=archive, decay=fades)


def a_memory(
    namespace: str = "team/a/notes",
    kind: Kind = Kind.SEMANTIC,
    expires_at: datetime | None = None,
    importance: float = 0.5,
) -> Content:
    return Content(
        namespace=namespace,
        key=None,
        coordinate=None,
        kind=kind,
        text="a",
        payload="{}",
        tags=(),
        importance=importance,
        embedding=None,
        embedding_model=None,
        subject=None,
        source=None,
        expires_at=expires_at,
        occurred_at=CHANGED,
        actor="test",
        created_at=CHANGED,
        updated_at=CHANGED,
    )


FACTS = a_rule(60, Kind.SEMANTIC)
# Of what is half as important as can be: 100 s, at a half-life of 50 s and a floor of an eighth.
FADES = a_rule(10**6, decay=(50, 0.125))
EVENTS = a_rule(30, Kind.EPISODIC)


@pytest.mark.parametrize(
    ("policies", "memory", "seconds"),
    [
        ({}, a_memory(), None),
        ({None: [a_rule(10)]}, a_memory(), 10),
        ({"team": [a_rule(20)], None: [a_rule(10)]}, a_memory(), 20),
        ({"team": [a_rule(20)], "team/a": [a_rule(30)], None: [a_rule(10)]}, a_memory(), 30),
        ({"team/a/notes": [a_rule(40)], "team": [a_rule(20)]}, a_memory(), 40),
        # Segments are compared, not letters.
        ({"team/a/no": [a_rule(40)], "team": [a_rule(20)]}, a_memory(), 20),
        ({"team/a/notes/old": [a_rule(40)]}, a_memory(), None),
        # Within a policy the kind goes first, whatever its place in the list.
        ({"team": [a_rule(20), FACTS]}, a_memory(), 60),
        ({"team": [FACTS, a_rule(20)]}, a_memory(kind=Kind.EPISODIC), 20),
        # A policy without a rule for the kind leaves the decision to the next one above.
        ({"team/a": [EVENTS], "team": [a_rule(20)]}, a_memory(), 20),
        ({"team/a": [EVENTS], None: [FACTS]}, a_memory(), 60),
        ({"team/a": [EVENTS]}, a_memory(), None),
        # A nearer general rule goes before one of the kind further up.
        ({"team/a": [a_rule(20)], "team": [FACTS]}, a_memory(), 20),
        # A rule with a decay decides where another would, and no other beside it.
        ({None: [FADES]}, a_memory(), 100),
        ({"team": [FADES], None: [a_rule(10)]}, a_memory(), 100),
        ({"team": [a_rule(20)], None: [FADES]}, a_memory(), 20),
        ({"team": [FACTS, FADES]}, a_memory(), 60),
        ({"team": [FACTS, FADES]}, a_memory(kind=Kind.EPISODIC), 100),
        ({"team/a": [EVENTS], None: [FADES]}, a_memory(), 100),
        ({None: [FADES]}, a_memory(importance=1.0), 150),
        ({None: [FADES]}, a_memory(importance=0.25), 50),
        # At the floor and below it nothing is left, but the notice period.
        ({None: [FADES]}, a_memory(importance=0.125), 0),
        ({None: [FADES]}, a_memory(importance=0.0), 0),
        ({None: [a_rule(10**6, decay=(50, 0.125), notice=7)]}, a_memory(importance=0.0), 7),
        # Nothing is kept longer than its rule keeps anything.
        ({None: [a_rule(99, decay=(50, 0.125))]}, a_memory(), 99),
        ({None: [a_rule(3, decay=(50, 0.125), notice=7)]}, a_memory(importance=0.0), 3),
    ],
)
def test_the_nearest_rule_decides(
    policies: dict[str | None, list[RetentionRule]], memory: Content, seconds: int | None
) -> None:
    deadline = TenantPolicies(policies).deadline_of(memory)

    assert (deadline and deadline.at) == (None if seconds is None else CHANGED + timedelta(seconds=seconds))


def test_a_memory_s_own_deadline_goes_before_every_policy_which_says_the_rest() -> None:
    policies = TenantPolicies({None: [a_rule(10, notice=3600, archive=True)]})

    assert policies.deadline_of(a_memory(expires_at=OWN)) == Deadline(
        at=OWN, notice_at=OWN - timedelta(hours=1), archive=True, by_policy=False
    )
    assert TenantPolicies({}).deadline_of(a_memory(expires_at=OWN)) == Deadline(
        at=OWN, notice_at=OWN, archive=False, by_policy=False
    )


def test_a_policy_counts_from_the_last_change() -> None:
    policies = TenantPolicies({"team": [a_rule(10, notice=4)]})
    later = replace(a_memory(), updated_at=CHANGED + timedelta(seconds=5))

    assert policies.deadline_of(later) == Deadline(
        at=CHANGED + timedelta(seconds=15),
        notice_at=CHANGED + timedelta(seconds=11),
        archive=False,
        by_policy=True,
    )


@given(
    importance=st.floats(0, 1),
    half_life=st.integers(1, 2**31 - 1),
    floor=st.floats(0.01, 1, exclude_max=True),
    notice=st.integers(0, 10**6),
)
def test_a_memory_ends_when_its_importance_halved_with_each_half_life_is_down_to_the_floor(
    importance: float, half_life: int, floor: float, notice: int
) -> None:
    rule = RuleInForce.since(CHANGED, a_rule(2**40 - 1, decay=(half_life, floor), notice=notice))

    seconds = rule.lifetime_seconds(importance)

    with localcontext(prec=60):
        counted = Decimal(round(importance * 100)) / 100

        def left(age: int) -> Decimal:
            return counted * Decimal(2) ** -(Decimal(age) / half_life)

        # A second more or less is what whole seconds and the last digits of a float are worth.
        assert seconds == notice or left(seconds - 1) >= Decimal(floor) * (1 - Decimal("1e-9"))
        assert left(seconds + 1) <= Decimal(floor) * (1 + Decimal("1e-9"))
    assert seconds >= notice


@pytest.mark.parametrize(
    ("rule", "set_seconds", "at_seconds"),
    [
        (a_rule(60), -100, 60),
        (a_rule(60), 61, 61),
        (a_rule(60, notice=10), 40, 60),
        (a_rule(60, notice=10), 51, 61),
        (a_rule(60, notice=10), 1000, 1010),
        (a_rule(60, notice=100), -1000, 60),
        (a_rule(10**6, decay=(50, 0.125), notice=10), 80, 100),
        (a_rule(10**6, decay=(50, 0.125), notice=10), 95, 105),
    ],
)
def test_a_rule_ends_nothing_before_its_notice_period_has_passed_since_it_was_set(
    rule: RetentionRule, set_seconds: int, at_seconds: int
) -> None:
    set_at = CHANGED + timedelta(seconds=set_seconds)
    policies = TenantPolicies({None: [rule]}, set_at={None: set_at})
    at = CHANGED + timedelta(seconds=at_seconds)

    assert policies.deadline_of(a_memory()) == Deadline(
        at, notice_at=at - timedelta(seconds=rule.notice_seconds), archive=False, by_policy=True
    )
    (reach, *_) = policies.reaches()
    before = set_at + timedelta(seconds=rule.notice_seconds) - timedelta(microseconds=1)
    assert reach.decides.ended(before) == Limits(None, None, None, None)


@pytest.mark.parametrize(
    ("caps", "most"),
    [
        ({}, None),
        ({None: 1}, 1),
        ({"team": 2, None: 1}, 2),
        ({"team": 2, "team/a": 3, "team/a/notes/old": 4}, 3),
        ({"team/a/no": 5, "other": 6}, None),
    ],
)
def test_the_nearest_cap_decides_whatever_the_rules_are(
    caps: dict[str | None, int], most: int | None
) -> None:
    policies = TenantPolicies(
        {"team/a/notes": [a_rule(10)]},
        {
            place: SizeCap(max_memories=number, notice_seconds=0, archive=False)
            for place, number in caps.items()
        },
    )

    cap = policies.cap_for("team/a/notes")
    assert (cap and cap.max_memories) == most
    assert policies.caps == bool(caps)


def test_a_deadline_beyond_the_calendar_is_none() -> None:
    assert TenantPolicies({None: [a_rule(2**40 - 1)]}).deadline_of(a_memory()) is None


SEGMENT = st.sampled_from("ab")
NAMESPACE = st.lists(SEGMENT, min_size=1, max_size=4).map("/".join)
RULES = st.lists(
    st.builds(a_rule, st.integers(1, 99), st.sampled_from([None, *Kind])),
    min_size=1,
    max_size=3,
    unique_by=lambda rule: rule.kind,
)


@given(st.dictionaries(st.none() | NAMESPACE, RULES, max_size=6), NAMESPACE, st.sampled_from(Kind))
def test_exactly_one_reach_holds_a_memory_and_it_is_that_of_its_rule(
    policies: dict[str | None, list[RetentionRule]], namespace: str, kind: Kind
) -> None:
    found = TenantPolicies(policies)

    holding = [
        reach.decides
        for reach in found.reaches()
        if reach.kind is kind
        and (reach.namespace is None or contains(reach.namespace, namespace))
        and not any(contains(below, namespace) for below in reach.except_below)
    ]

    rule = found.rule_for(namespace, kind)
    assert holding == ([rule] if rule is not None else [])
