"""One score out of nearness and words."""

from uuid import UUID

import pytest

from soma_api.queries.vectors.fusion import Candidate, Explanation, fuse, rank_by_nearness, rank_by_words

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def test_the_score_is_the_weighted_cosine_plus_bm25_over_both_lists() -> None:
    ranked = fuse([Candidate(A, 0.5), Candidate(B, 0.4)], [Candidate(B, 6.0), Candidate(C, 4.5)], 10, 10.0)

    assert [(each.id, each.score) for each in ranked] == [(B, 10.0), (A, 5.0), (C, 4.5)]


def test_each_score_tells_what_it_is_made_of() -> None:
    ranked = {each.id: each.explanation for each in fuse([Candidate(A, 0.5)], [Candidate(B, 6.0)], 10)}

    assert ranked == {A: Explanation(0.5, None), B: Explanation(None, 6.0)}


def test_equal_scores_stand_in_the_order_of_ids_whatever_order_they_came_in() -> None:
    there = fuse([Candidate(A, 0.5), Candidate(B, 0.5)], [], 10)
    back = fuse([Candidate(B, 0.5), Candidate(A, 0.5)], [], 10)

    assert [each.id for each in there] == [each.id for each in back] == [A, B]


def test_nearness_alone_ranks_by_cosine() -> None:
    ranked = rank_by_nearness([Candidate(A, -0.2), Candidate(B, 0.9)], 10)

    assert [(each.id, each.score, each.explanation) for each in ranked] == [
        (B, 0.9, Explanation(0.9, None)),
        (A, -0.2, Explanation(-0.2, None)),
    ]


def test_words_alone_rank_by_bm25() -> None:
    ranked = rank_by_words([Candidate(A, 1.0), Candidate(B, 3.0)], 10)

    assert [(each.id, each.score, each.explanation) for each in ranked] == [
        (B, 3.0, Explanation(None, 3.0)),
        (A, 1.0, Explanation(None, 1.0)),
    ]


def test_nothing_found_is_nothing_ranked() -> None:
    assert fuse([], [], 10) == []


def test_only_the_best_are_returned() -> None:
    dense, sparse = [Candidate(A, 0.5), Candidate(B, 0.4)], [Candidate(C, 9.0)]

    assert [each.id for each in fuse(dense, sparse, 2)] == [C, A]
    assert [each.id for each in rank_by_nearness(dense, 1)] == [A]
    assert [each.id for each in rank_by_words(sparse, 1)] == [C]


@pytest.mark.parametrize(
    ("explanation", "below", "weak"),
    [
        (Explanation(0.24, None), 0.25, True),
        (Explanation(0.25, None), 0.25, False),
        (Explanation(0.01, 4.0), 0.25, False),
        (Explanation(None, 4.0), 0.25, False),
        (Explanation(0.01, 4.0), None, False),
        (Explanation(0.24, None), None, None),
        (Explanation(-1.0, None), -1.0, False),
    ],
)
def test_a_hit_is_weak_when_no_word_speaks_for_it_and_little_nearness(
    explanation: Explanation, below: float | None, weak: object
) -> None:
    assert explanation.is_weak(below) is weak
