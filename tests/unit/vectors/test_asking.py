"""What one question to the embedded engine may cost."""

from collections.abc import Sequence
from uuid import UUID

import pytest
import qdrant_edge as edge

from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import NumberRange, Selection
from soma_api.queries.vectors.conditions import InRange, Not, conditions_of, of_tenant
from soma_cli.local.embedded_filters import MOST_LEFT_OUT, Asked, search_filter
from soma_schemas.vectors.index_errors import SearchTooCostlyError

_WIDE = NumberRange(at_least=0.5)
_LIMIT = 100


def _ask(points: int, wanted: Selection, share: float = 1.0) -> Asked:
    """Ask where each condition is met by so many points, and all of them by a share of these."""
    conditions = conditions_of("acme", wanted)
    assert conditions is not None

    def count(where: edge.Filter) -> int:
        alone = len(where.must or ()) + len(where.must_not or ()) <= 1
        return points if alone else round(points * share)

    return search_filter(conditions, _LIMIT, count, lambda _: ())


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        (10_000_000, selection()),
        (10_000_000, selection(tags=["tea"])),
        (10_000_000, selection(tags_any=["tea", "coffee"], namespace_prefix="team")),
        (1_000, selection(importance_min=0.5)),
        (50, selection(payload_ranges=dict.fromkeys("abc", _WIDE))),
    ],
)
def test_labels_and_what_few_memories_meet_are_asked_by_themselves(points: int, wanted: Selection) -> None:
    asked = _ask(points, wanted)

    assert asked.nearest is None
    assert asked.refusal is None


@pytest.mark.parametrize(
    ("points", "wanted", "why_not_all"),
    [
        (50_000, selection(importance_min=0.5), None),
        (50_000, selection(namespace_prefix="team", payload_ranges={"price": _WIDE}), None),
        (20_000, selection(tags_any=[str(each) for each in range(64)]), None),
        (
            20_000,
            selection(payload_ranges=dict.fromkeys("abcd", _WIDE)),
            "16 conditions on each of about 20000",
        ),
        (100_000, selection(payload_ranges={"price": _WIDE}), "4 conditions on each of about 100000"),
    ],
)
def test_what_many_memories_meet_is_checked_on_the_nearest(
    points: int, wanted: Selection, why_not_all: str | None
) -> None:
    asked = _ask(points, wanted, share=0.5)

    assert asked.nearest is not None
    assert asked.nearest.most == 4 * _LIMIT
    told = str(asked.refusal) if asked.refusal is not None else None
    assert told == (f"the search would check {why_not_all} memories" if why_not_all else None)


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        (70_000, selection(payload_ranges=dict.fromkeys("abcd", _WIDE))),
        (20_000, selection(coordinate_min=[0.0] * 16, coordinate_max=[1.0] * 16)),
        (100_000, selection(payload_ranges={"price": _WIDE})),
    ],
)
def test_a_search_that_checks_many_conditions_on_many_memories_for_a_few_is_refused(
    points: int, wanted: Selection
) -> None:
    with pytest.raises(SearchTooCostlyError, match=f"about {points} memories"):
        _ask(points, wanted, share=0.01)


@pytest.mark.parametrize(
    ("excluded", "left_out", "checked"),
    [(0, 0, 0), (MOST_LEFT_OUT, MOST_LEFT_OUT, 0), (MOST_LEFT_OUT + 1, 0, 1)],
)
def test_what_excludes_few_memories_is_not_checked_on_all_and_nothing_excluded_ends_a_search(
    excluded: int, left_out: int, checked: int
) -> None:
    ended = Not([InRange("expires_at", at_most=1.0)])
    ids: Sequence[UUID] = [UUID(int=number) for number in range(excluded)]

    asked = search_filter([of_tenant("acme"), ended], _LIMIT, lambda _: 10_000_000, lambda _: ids)

    assert len(asked.left_out) == left_out
    assert len(asked.where.must_not or ()) == checked
