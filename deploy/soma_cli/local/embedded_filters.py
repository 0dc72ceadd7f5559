"""Search conditions as filters of the embedded engine, in the shape that it evaluates fastest."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, assert_never
from uuid import UUID

import qdrant_edge as edge

from soma_api.queries.vectors.conditions import AnyOf, Condition, InRange, IsPoint, Not, OneOf
from soma_schemas.vectors.index_errors import SearchTooCostlyError
from soma_schemas.vectors.payload import LABELS

# The engine walks the points of the condition that fewest meet, and checks the others on each. To check
# a label takes six times as long as to check a number (docs/internals/search.md).
_WORDS_TO_A_NUMBER = 6

# The engine holds the interpreter while it works, so all others wait for one question. A check takes 0.2 to
# 0.9 microseconds.
_MOST_CHECKS = 250_000

# To check what few points meet, on all others, takes two to three times as long as the rest of a question.
# So few are found first, which takes 0.1 ms, and left out of the answer.
MOST_LEFT_OUT = 64


class Asked(NamedTuple):
    """What the engine is asked.

    Attributes:
        where: The filter.
        left_out: Points that it lets through, and that meet what shall not be met.
    """

    where: edge.Filter
    left_out: frozenset[UUID]


def filter_of(conditions: Sequence[Condition]) -> edge.Filter:
    """Return the filter that lets through what meets all conditions."""
    return edge.Filter(must=[_condition(each) for each in conditions])


def search_filter(
    conditions: Sequence[Condition],
    count: Callable[[edge.Filter], int],
    some: Callable[[edge.Filter], Sequence[UUID]],
) -> Asked:
    """Return the same filter for walking many points: wide ranges are checked and never walked.

    "Not outside of the range" lets through what the range does, but the engine walks no negation. A `Not`
    that excludes few points is not checked at all. One that nobody asked for does not count among the checks
    that are too many: that much has ended is no reason to refuse a search.

    Args:
        conditions: At least one of them is neither range nor negation.
        count: Estimates how many points a filter lets through.
        some: Finds points that a filter lets through, at least one more than `MOST_LEFT_OUT` if there are.

    Raises:
        SearchTooCostlyError: Walking the fewest and checking the rest on each would take too long.
    """
    positive = [each for each in conditions if not isinstance(each, Not)]
    negative = [each for each in conditions if isinstance(each, Not)]
    wide = _wide(positive, sum(_checks(each) for each in negative if each.asked), count)
    must_not = [edge.Filter(must_not=[_condition(each)]) for each in wide]
    left_out: set[UUID] = set()
    for negation in negative:
        excluded = some(filter_of([*positive, *negation.conditions]))
        if len(excluded) > MOST_LEFT_OUT:
            must_not.append(filter_of(negation.conditions))
        else:
            left_out.update(excluded)
    return Asked(
        edge.Filter(must=[_condition(each) for each in positive if each not in wide], must_not=[*must_not]),
        frozenset(left_out),
    )


def _wide(
    conditions: Sequence[Condition], further_checks: int, count: Callable[[edge.Filter], int]
) -> list[Condition]:
    """Return the ranges that many points meet.

    Raises:
        SearchTooCostlyError: As `search_filter`.
    """
    checks = sum(_checks(each) for each in conditions) + further_checks - 1
    met = [(each, count(filter_of([each]))) for each in conditions] if checks else []
    points = min((number for _, number in met), default=0)
    if checks * points > _MOST_CHECKS:
        raise SearchTooCostlyError(
            f"the search would check {checks} conditions on each of about {points} memories"
        )
    fewest = min((number for each, number in met if not _is_range(each)), default=0)
    return [each for each, number in met if _is_range(each) and number * _WORDS_TO_A_NUMBER > fewest]


def _is_range(condition: Condition) -> bool:
    return isinstance(condition, InRange | AnyOf)


def _checks(condition: Condition) -> int:
    match condition:
        case AnyOf(alternatives, None):
            return sum(_checks(each) for some in alternatives for each in some)
        case AnyOf(_, int(checks)):
            return checks
        case Not(conditions):
            return sum(map(_checks, conditions))
        case _:
            return 1


def _condition(condition: Condition) -> edge.FieldCondition | edge.HasIdCondition | edge.Filter:
    match condition:
        case OneOf([label]):
            return edge.FieldCondition(LABELS, match=edge.MatchText(label))
        case OneOf(labels):
            return edge.FieldCondition(LABELS, match=edge.MatchTextAny(" ".join(labels)))
        case InRange(field, at_least, above, at_most, below):
            bounds = edge.RangeFloat(gte=at_least, gt=above, lte=at_most, lt=below)
            return edge.FieldCondition(field, range=bounds)
        case AnyOf(alternatives):
            return edge.Filter(should=[filter_of(each) for each in alternatives])
        case Not(conditions):
            return edge.Filter(must_not=[filter_of(conditions)])
        case IsPoint(ids):
            return edge.HasIdCondition(set(ids))
        case _:
            assert_never(condition)
