"""How the embedded engine is asked: the same conditions, in the shape that it answers fastest."""

from collections.abc import Callable, Sequence
from typing import assert_never

import qdrant_edge as edge

from soma_api.queries.vectors.conditions import AnyOf, Condition, InRange, IsPoint, OneOf

# The engine walks the points of the condition that fewest meet, and checks the others on each. To check
# `within`, a list of words, takes six times as long as to check a number (docs/internals/search.md).
_WORDS_TO_A_NUMBER = 6


def filter_of(conditions: Sequence[Condition]) -> edge.Filter:
    """Return the filter that lets through what meets all conditions."""
    return edge.Filter(must=[_condition(each) for each in conditions])


def search_filter(conditions: Sequence[Condition], count: Callable[[edge.Filter], int]) -> edge.Filter:
    """Return the same filter for walking many points: wide ranges are checked and never walked.

    "Not outside of the range" lets through what the range does, but the engine walks no negation.

    Args:
        conditions: At least one of them is no range.
        count: Estimates how many points a filter lets through.
    """
    ranges = [each for each in conditions if isinstance(each, InRange | AnyOf)]
    if not ranges:
        return filter_of(conditions)
    fewest = min(count(filter_of([each])) for each in conditions if not isinstance(each, InRange | AnyOf))
    wide = [each for each in ranges if count(filter_of([each])) * _WORDS_TO_A_NUMBER > fewest]
    return edge.Filter(
        must=[_condition(each) for each in conditions if each not in wide],
        must_not=[edge.Filter(must_not=[_condition(each)]) for each in wide],
    )


def _condition(condition: Condition) -> edge.FieldCondition | edge.HasIdCondition | edge.Filter:
    match condition:
        case OneOf(field, [value]):
            return edge.FieldCondition(field, match=edge.MatchValue(value))  # half the time of MatchAny
        case OneOf(field, values):
            return edge.FieldCondition(field, match=edge.MatchAny(list(values)))
        case InRange(field, at_least, above, at_most, below):
            bounds = edge.RangeFloat(gte=at_least, gt=above, lte=at_most, lt=below)
            return edge.FieldCondition(field, range=bounds)
        case AnyOf(alternatives):
            return edge.Filter(should=[filter_of(each) for each in alternatives])
        case IsPoint(ids):
            return edge.HasIdCondition(set(ids))
        case _:
            assert_never(condition)
