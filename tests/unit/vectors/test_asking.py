"""What one question to the embedded engine may cost."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import NumberRange, Selection
from soma_api.queries.vectors.conditions import InRange, Not, conditions_of, of_tenant
from soma_cli.local.embedded_filters import MOST_LEFT_OUT, search_filter
from soma_schemas.vectors.index_errors import SearchTooCostlyError

_WIDE = NumberRange(at_least=0.5)


def _ask(points: int, wanted: Selection) -> None:
    conditions = conditions_of("acme", wanted)
    assert conditions is not None
    search_filter(conditions, lambda _: points, lambda _: ())


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        (10_000_000, selection()),
        (200_000, selection(tags=["tea"])),
        (50_000, selection(namespace_prefix="team", importance_min=0.5, payload_ranges={"price": _WIDE})),
        (20_000, selection(payload_ranges=dict.fromkeys("abc", _WIDE))),
        (1000, selection(tags=[str(each) for each in range(64)])),
    ],
)
def test_a_search_that_checks_few_conditions_or_few_memories_is_asked(points: int, wanted: Selection) -> None:
    _ask(points, wanted)


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        (20_000, selection(payload_ranges=dict.fromkeys("abcd", _WIDE))),
        (20_000, selection(tags=[str(each) for each in range(64)])),
        (20_000, selection(coordinate_min=[0.0] * 16, coordinate_max=[1.0] * 16)),
        (100_000, selection(payload_ranges={"price": _WIDE})),
    ],
)
def test_a_search_that_checks_many_conditions_on_many_memories_is_refused(
    points: int, wanted: Selection
) -> None:
    with pytest.raises(SearchTooCostlyError, match=f"about {points} memories"):
        _ask(points, wanted)


@pytest.mark.parametrize(
    ("excluded", "left_out", "checked"),
    [(0, 0, 0), (MOST_LEFT_OUT, MOST_LEFT_OUT, 0), (MOST_LEFT_OUT + 1, 0, 1)],
)
def test_what_excludes_few_memories_is_not_checked_on_all_and_nothing_excluded_ends_a_search(
    excluded: int, left_out: int, checked: int
) -> None:
    ended = Not([InRange("expires_at", at_most=1.0)])
    ids: Sequence[UUID] = [UUID(int=number) for number in range(excluded)]

    asked = search_filter([of_tenant("acme"), ended], lambda _: 10_000_000, lambda _: ids)

    assert len(asked.left_out) == left_out
    assert len(asked.where.must_not or ()) == checked
