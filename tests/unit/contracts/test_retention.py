"""Which rule decides about a memory, and when it ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.events import RetentionRule, SizeCap
from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.namespaces import contains
from soma_schemas.retention import Deadline, TenantPolicies

CHANGED = datetime(2026, 3, 2, 9, tzinfo=UTC)
OWN = datetime(2026, 4, 1, tzinfo=UTC)


def a_rule(ttl: int, kind: Kind | None = None, *, notice: int = 0, archive: bool = False) -> RetentionRule:
    return RetentionRule(kind=kind, ttl_seconds=ttl, notice_seconds=notice, archive=archive)


def a_memory(
    namespace: str = "team/a/notes", kind: Kind = Kind.SEMANTIC, expires_at: datetime | None = None
) -> Content:
    return Content(
        namespace=namespace,
        key=None,
        coordinate=None,
        kind=kind,
        text="a",
        payload="{}",
        tags=(),
        importance=0.5,
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
    ],
)
def test_the_nearest_rule_decides(
    policies: dict[str | None, list[RetentionRule]], memory: Content, seconds: int | None
) -> None:
    deadline = TenantPolicies(policies).deadline_of(memory)

    assert (deadline and deadline.at) == (seconds and CHANGED + timedelta(seconds=seconds))


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
        reach.rule
        for reach in found.reaches()
        if reach.kind is kind
        and (reach.namespace is None or contains(reach.namespace, namespace))
        and not any(contains(below, namespace) for below in reach.except_below)
    ]

    rule = found.rule_for(namespace, kind)
    assert holding == ([rule] if rule is not None else [])
