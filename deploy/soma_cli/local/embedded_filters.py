"""Search conditions as filters of the embedded engine, in the shape that it evaluates fastest."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

import qdrant_edge as edge

from soma_api.queries.vectors.conditions import AnyOf, Condition, InRange, IsPoint, Not, OneOf
from soma_schemas.vectors.index_errors import SearchTooCostlyError
from soma_schemas.vectors.payload import LABELS

# A check on one point takes 0.1 to 0.9 microseconds: the more, the more widely what it reads lies scattered,
# as it does in a process that has been writing. One more of the nearest points takes three (ADR 84).
_CHECKS_TO_A_POINT = 15

# What meets the conditions may be rarer near to a question than elsewhere.
_SPARE = 2

# Of labels, that are walked one after the other.
_MOST_WAYS = 16

# The engine holds the interpreter while it works, so all others wait for one question: so many checks, or so
# many of the nearest points, take some 25 to 100 ms.
_MOST_CHECKS = 250_000
_MOST_NEAREST = 8_192

# To check what few points meet, on all others, takes two to three times as long as the rest of a question.
# So few are found first, which takes 0.1 ms, and left out of the answer.
MOST_LEFT_OUT = 64


@dataclass(frozen=True, slots=True)
class Nearest:
    """The best of what has the labels: the other conditions are checked on these alone.

    Attributes:
        labelled: Lets through what has the labels; the engine walks it and checks nothing.
        unmet: Lets through what does not meet all of the other conditions.
        most: How many points are looked at.
    """

    labelled: edge.Filter
    unmet: edge.Filter
    most: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What the engine is asked.

    Attributes:
        where: Lets through what meets all conditions, except points that are left out.
        left_out: Points that `where` lets through, and that meet what shall not be met.
        nearest: Where `where` takes long: a shorter way to, almost always, the same answer.
        refusal: Why `where` is not to be asked, in an error that can be raised, or None.
    """

    where: edge.Filter
    left_out: frozenset[UUID]
    nearest: Nearest | None = None
    refusal: SearchTooCostlyError | None = None


def filter_of(conditions: Sequence[Condition]) -> edge.Filter:
    """Return the filter that lets through what meets all conditions."""
    return edge.Filter(must=[_condition(each) for each in conditions])


def search_filter(
    conditions: Sequence[Condition],
    limit: int,
    count: Callable[[edge.Filter], int],
    some: Callable[[edge.Filter], Sequence[UUID]],
) -> Asked:
    """Return how the best points are found that meet all conditions.

    The engine walks the points of one condition. It checks all of them on each, unless that is the only one.
    So labels become one condition, and where the rest takes many checks, they are made on the nearest points.

    A `Not` that excludes few points is not checked at all. One that nobody asked for does not count among the
    checks that are too many: that much has ended is no reason to refuse a search.

    Args:
        conditions: At least one of them is of labels.
        limit: Most points that are wanted.
        count: Estimates how many points a filter lets through.
        some: Finds points that a filter lets through, at least one more than `MOST_LEFT_OUT` if there are.

    Raises:
        SearchTooCostlyError: Each way would take too long.
    """
    positive = [each for each in conditions if not isinstance(each, Not)]
    excluding: list[Not] = []
    left_out: set[UUID] = set()
    for negation in conditions:
        if isinstance(negation, Not):
            excluded = some(filter_of([*positive, *negation.conditions]))
            if len(excluded) > MOST_LEFT_OUT:
                excluding.append(negation)
            else:
                left_out.update(excluded)
    labelled, rest = _walked(positive)
    if not rest and not excluding:
        return Asked(labelled, frozenset(left_out))
    must, must_not = [_condition(each) for each in rest], [filter_of(each.conditions) for each in excluding]
    where = edge.Filter(must=[labelled, *must], must_not=[*must_not])
    there = count(labelled)
    walked = min([there, *(count(filter_of([each])) for each in rest)])
    most = math.ceil(_SPARE * (limit + len(left_out)) * there / max(1, count(where)))
    refusal = _refusal(sum(map(_checks, [*rest, *(each for each in excluding if each.asked)])), walked)
    if refusal is not None and most > _MOST_NEAREST:
        raise refusal
    nearest = None
    if refusal is not None or sum(map(_checks, [*rest, *excluding])) * walked > most * _CHECKS_TO_A_POINT:
        unmet = edge.Filter(must_not=[edge.Filter(must=[*must], must_not=[*must_not])])
        nearest = Nearest(labelled, unmet, most)
    return Asked(where, frozenset(left_out), nearest, refusal)


def _walked(conditions: Sequence[Condition]) -> tuple[edge.Filter, list[Condition]]:
    """Return what the engine walks without a check: points with certain labels; and the rest.

    One of several labels beside another is spelt out: one and the other, or a third and the other.
    """
    ways: list[list[str]] = [[]]
    rest: list[Condition] = []
    for each in conditions:
        if isinstance(each, OneOf) and len(ways) * len(each.labels) <= _MOST_WAYS:
            ways = [[*way, label] for way in ways for label in each.labels]
        else:
            rest.append(each)
    if ways == [[]]:
        first = next(each for each in rest if isinstance(each, OneOf))
        rest.remove(first)
        return filter_of([first]), rest
    return edge.Filter(should=[_labels(way) for way in ways]), rest


def _labels(labels: Sequence[str]) -> edge.FieldCondition:
    """Return the condition that a point has all of these labels."""
    return edge.FieldCondition(LABELS, match=edge.MatchText(" ".join(labels)))


def _refusal(checks: int, points: int) -> SearchTooCostlyError | None:
    if checks * points <= _MOST_CHECKS:
        return None
    return SearchTooCostlyError(
        f"the search would check {checks} conditions on each of about {points} memories"
    )


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
            return _labels([label])
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
