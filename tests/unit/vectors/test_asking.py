"""What one question to the embedded engine may cost."""

import pytest

from soma_api.queries.vectors.conditions import NumberRange, SearchFilter, conditions_of
from soma_cli.local.embedded_filters import search_filter
from soma_schemas.vectors.index_errors import SearchTooCostlyError

_WIDE = NumberRange(at_least=0.5)


def _ask(points: int, wanted: SearchFilter) -> None:
    conditions = conditions_of("acme", wanted)
    assert conditions is not None
    search_filter(conditions, lambda _: points)


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        (10_000_000, SearchFilter()),
        (200_000, SearchFilter(tags=["tea"])),
        (50_000, SearchFilter(namespace_prefix="team", importance_min=0.5, payload_ranges={"price": _WIDE})),
        (20_000, SearchFilter(payload_ranges=dict.fromkeys("abc", _WIDE))),
        (1000, SearchFilter(tags=[str(each) for each in range(64)])),
    ],
)
def test_a_search_that_checks_few_conditions_or_few_memories_is_asked(
    points: int, wanted: SearchFilter
) -> None:
    _ask(points, wanted)


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        (20_000, SearchFilter(payload_ranges=dict.fromkeys("abcd", _WIDE))),
        (20_000, SearchFilter(tags=[str(each) for each in range(64)])),
        (20_000, SearchFilter(coordinate_min=[0.0] * 16, coordinate_max=[1.0] * 16)),
        (100_000, SearchFilter(payload_ranges={"price": _WIDE})),
    ],
)
def test_a_search_that_checks_many_conditions_on_many_memories_is_refused(
    points: int, wanted: SearchFilter
) -> None:
    with pytest.raises(SearchTooCostlyError, match=f"about {points} memories"):
        _ask(points, wanted)
