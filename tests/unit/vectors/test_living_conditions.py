"""Which points a search leaves out because they have ended, and with how few conditions."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.vectors.build import a_content, a_memory_id
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import Selection
from soma_api.queries.vectors.conditions import AnyOf, Condition, InRange, IsPoint, Not, OneOf, places_of
from soma_api.queries.vectors.living_conditions import living
from soma_schemas.events import RetentionRule
from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.retention import TenantPolicies
from soma_schemas.vectors.payload import LABELS, living_payload

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def a_rule(ttl: int, kind: Kind | None = None) -> RetentionRule:
    return RetentionRule(kind=kind, ttl_seconds=ttl, notice_seconds=0, archive=False)


def meets(conditions: Sequence[Condition], content: Content) -> bool:
    """What an engine does, in a few lines; the contract holds engines to the same."""
    payload = living_payload(
        tenant="acme", memory_id=a_memory_id(), version=1, recent_event_ids=(), content=content
    )

    def met(condition: Condition) -> bool:
        match condition:
            case OneOf(labels):
                return not set(labels).isdisjoint(payload[LABELS].split())
            case Not(inner):
                return not all(map(met, inner))
            case InRange(field, above=above, at_most=at_most):
                number = payload.get(field)
                return number is not None and (
                    (above is None or number > above) and (at_most is None or number <= at_most)
                )
            case AnyOf() | IsPoint():
                raise NotImplementedError

    return all(map(met, conditions))


PLACES = ["a", "a/b", "a/b/c", "ab", "b", "b/c"]
POLICIES = st.dictionaries(
    st.sampled_from([None, *PLACES]),
    st.lists(
        st.builds(a_rule, st.integers(1, 5), st.sampled_from([None, *Kind])),
        min_size=1,
        max_size=3,
        unique_by=lambda rule: rule.kind,
    ),
    max_size=5,
)
FILTERS = st.builds(
    Selection,
    namespace=st.sampled_from([None, None, *PLACES]),
    namespace_prefix=st.sampled_from([None, *PLACES]),
    allowed=st.none() | st.lists(st.sampled_from(PLACES), max_size=3, unique=True),
)
CONTENTS = st.builds(
    lambda namespace, kind, age, own: a_content(
        namespace=namespace,
        kind=kind,
        updated_at=NOW - timedelta(seconds=age),
        expires_at=None if own is None else NOW + timedelta(microseconds=own),
    ),
    st.sampled_from(PLACES),
    st.sampled_from(Kind),
    st.integers(0, 6),
    st.sampled_from([None, None, -1, 0, 1]),
)


@given(POLICIES, FILTERS, st.lists(CONTENTS, min_size=1, max_size=10))
def test_of_what_a_search_can_find_exactly_the_living_meet_the_conditions(
    policies: dict[str | None, list[RetentionRule]], wanted: Selection, contents: list[Content]
) -> None:
    rules = TenantPolicies(policies)
    places = places_of(wanted)
    conditions = living("acme", rules, places, NOW)

    for content in contents:
        if meets([OneOf([place.label("acme") for place in places])], content):
            deadline = rules.deadline_of(content)
            assert meets(conditions, content) == (deadline is None or deadline.at > NOW)


EVERYWHERE = selection()
USERS: dict[str | None, list[RetentionRule]] = {f"user/{number}": [a_rule(9)] for number in range(100)}


@pytest.mark.parametrize(
    ("policies", "wanted", "count"),
    [
        ({}, EVERYWHERE, 1),
        # Both kinds of one rule, and namespaces that are kept equally long, are one condition.
        ({None: [a_rule(5)]}, EVERYWHERE, 2),
        (USERS, EVERYWHERE, 2),
        (USERS | {None: [a_rule(5)]}, EVERYWHERE, 3),
        ({None: [a_rule(5, Kind.EPISODIC), a_rule(7, Kind.SEMANTIC)]}, EVERYWHERE, 3),
        # What reaches nothing that is searched is not asked for.
        ({"a": [a_rule(5)], "b": [a_rule(7)]}, selection(namespace_prefix="a/b"), 2),
        ({"a": [a_rule(5)], "a/b": [a_rule(7)]}, selection(namespace="a/b"), 2),
        ({"a/b": [a_rule(5)]}, selection(namespace="a"), 1),
        ({"a": [a_rule(5)]}, selection(allowed=["b", "ab"]), 1),
        # Kept so long that nothing can have ended.
        ({None: [a_rule(2**39)]}, EVERYWHERE, 1),
    ],
)
def test_many_policies_are_few_conditions(
    policies: dict[str | None, list[RetentionRule]], wanted: Selection, count: int
) -> None:
    assert len(living("acme", TenantPolicies(policies), places_of(wanted), NOW)) == count


def test_a_policy_that_covers_all_that_is_searched_names_no_place() -> None:
    policies = TenantPolicies({"a": [a_rule(5)], "a/z": [a_rule(6)]})

    _, by_policy = living("acme", policies, places_of(selection(namespace_prefix="a/b")), NOW)

    assert isinstance(by_policy, Not)
    assert not any(isinstance(each, OneOf) for each in by_policy.conditions)
