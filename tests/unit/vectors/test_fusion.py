"""One score out of nearness and words."""

from uuid import UUID

import pytest

from soma_api.queries.vectors.fusion import Candidate, Explanation, fuse, rank_by_nearness, rank_by_words

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def test_the_score_is_the_mean_of_how_far_each_part_lies_above_the_candidates() -> None:
    ranked = fuse([Candidate(A, 0.6), Candidate(B, 0.4)], [Candidate(B, 6.0)], 10)

    assert [each.score for each in ranked] == pytest.approx([0.0, 0.0])
    assert [each.explanation.dense_z_score for each in ranked] == pytest.approx([1.0, -1.0])
    assert [each.explanation.bm25_z_score for each in ranked] == pytest.approx([-1.0, 1.0])


def test_neither_part_outweighs_the_other_by_its_scale() -> None:
    dense = [Candidate(A, 0.5), Candidate(B, 0.4), Candidate(C, 0.1)]
    sparse = [Candidate(A, 1.0), Candidate(B, 3.0), Candidate(C, 2.0)]
    louder = [Candidate(each, 50 * score) for each, score in sparse]

    assert [each.score for each in fuse(dense, sparse, 3)] == pytest.approx(
        [each.score for each in fuse(dense, louder, 3)]
    )


def test_each_score_tells_what_it_is_made_of() -> None:
    ranked = {each.id: each.explanation for each in fuse([Candidate(A, 0.5)], [Candidate(B, 6.0)], 10)}

    assert ranked == {A: Explanation(0.5, None, 1.0, -1.0), B: Explanation(None, 6.0, -1.0, 1.0)}


def test_what_no_candidate_has_counts_nothing() -> None:
    assert [each.score for each in fuse([Candidate(A, 0.5)], [], 10)] == [0.0]


def test_a_part_that_is_the_same_of_all_says_nothing() -> None:
    ranked = fuse([Candidate(A, 0.3 + 1e-9), Candidate(B, 0.3)], [Candidate(B, 2.0)], 10)

    assert [(each.id, each.score) for each in ranked] == [(B, 0.5), (A, -0.5)]


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
    dense, sparse = [Candidate(A, 0.5), Candidate(B, 0.4), Candidate(C, 0.6)], [Candidate(C, 9.0)]

    assert [each.id for each in fuse(dense, sparse, 2)] == [C, A]
    assert [each.id for each in rank_by_nearness(dense, 1)] == [C]
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
