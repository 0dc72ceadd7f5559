"""Bounds on the parts of scores, and boosts."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from soma_api.queries.vectors.fusion import Explanation, Ranked
from soma_api.queries.vectors.reranking import Boost, Threshold, above, boosted, diverse, shifted
from soma_schemas.moments import micros

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def a_hit(point: UUID, score: float = 0.0) -> Ranked:
    return Ranked(point, score, Explanation(0.5, 2.0))


def told(importance: float = 0.0, *, days_ago: float = 1e5) -> dict[str, float]:
    return {"importance": importance, "occurred_at": micros(NOW) - int(days_ago * 86_400 * 10**6)}


@pytest.mark.parametrize(
    ("threshold", "is_met"),
    [
        (Threshold(), True),
        (Threshold(dense=0.5), True),
        (Threshold(dense=0.51), False),
        (Threshold(bm25=2.0), True),
        (Threshold(bm25=2.1), False),
        (Threshold(dense=0.5, bm25=2.1), False),
    ],
)
def test_a_hit_reaches_a_threshold_when_each_of_its_parts_does(threshold: Threshold, *, is_met: bool) -> None:
    assert bool(above(threshold, [a_hit(A)])) is is_met


def test_a_part_that_a_hit_lacks_reaches_no_threshold() -> None:
    lacking = [Ranked(A, 1.0, Explanation(None, 2.0)), Ranked(B, 1.0, Explanation(0.5, None))]

    assert above(Threshold(dense=-1.0), lacking) == lacking[1:]
    assert above(Threshold(bm25=0.1), lacking) == lacking[:1]


def test_importance_is_added_in_proportion_and_said() -> None:
    first, second = boosted(
        [a_hit(A, 1.0), a_hit(B, 0.9)], {A: told(0.1), B: told(0.6)}, Boost(importance=2.0), NOW, 10
    )

    assert [first.id, second.id] == [B, A]
    assert [first.score, second.score] == pytest.approx([2.1, 1.2])
    assert (first.explanation.importance_boost, second.explanation.recency_boost) == (1.2, 0.0)


def test_recency_halves_with_each_half_life() -> None:
    points = {A: told(days_ago=0), B: told(days_ago=10), C: told(days_ago=20)}
    boost = Boost(recency=4.0, half_life=timedelta(10))

    found = boosted([a_hit(each) for each in points], points, boost, NOW, 10)

    assert [(each.id, each.explanation.recency_boost) for each in found] == [(A, 4.0), (B, 2.0), (C, 1.0)]


def test_what_is_still_to_happen_is_as_recent_as_now() -> None:
    (found,) = boosted([a_hit(A)], {A: told(days_ago=-5)}, Boost(recency=1.0), NOW, 10)

    assert found.score == 1.0


def test_only_the_best_after_boosts_are_returned_and_what_has_gone_is_not() -> None:
    hits = [a_hit(A, 3.0), a_hit(B, 2.0), a_hit(C, 1.0)]

    found = boosted(hits, {B: told(), C: told(1.0)}, Boost(importance=5.0), NOW, 1)

    assert [each.id for each in found] == [C]


def test_diversity_weighs_scores_against_likeness() -> None:
    hits = [a_hit(A, 3.0), a_hit(B, 2.9), a_hit(C, 1.0)]
    vectors = {A: [1.0, 0.0], B: [1.0, 0.0], C: [0.0, 1.0]}

    assert [each.id for each in diverse(hits, vectors, 0.0, 3)] == [A, B, C]
    assert [each.id for each in diverse(hits, vectors, 0.6, 3)] == [A, C, B]
    assert diverse(hits, vectors, 0.6, 2) == [hits[0], hits[2]]


def test_what_has_no_vector_is_near_to_nothing() -> None:
    hits = [a_hit(A, 3.0), a_hit(B, 2.9), a_hit(C, 2.8)]

    assert [each.id for each in diverse(hits, {A: [1.0], B: [1.0]}, 0.9, 2)] == [A, C]
    assert diverse([], {}, 0.5, 3) == []


def test_a_question_moves_towards_the_mean_of_its_context() -> None:
    assert shifted([1.0, 0.0], [], 0.9) == [1.0, 0.0]
    assert shifted([1.0, 0.0], [[0.0, 1.0]], 0.0) == [1.0, 0.0]
    assert shifted([1.0, 0.0], [[0.0, 1.0], [0.0, 1.0]], 1.0) == [0.0, 1.0]
    assert shifted([1.0, 0.0], [[-1.0, 0.0]], 0.5) is None
