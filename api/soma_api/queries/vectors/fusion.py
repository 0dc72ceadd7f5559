"""Fusion of vector and keyword scores into one: pure, the same for every engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

# docs/adr/0005 has the measurements behind this number.
DENSE_WEIGHT = 10.0


class Candidate(NamedTuple):
    """A point that an engine found, with its score in one kind of search."""

    id: UUID
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a score is made of.

    Attributes:
        dense: Cosine between question and memory, -1 to 1; None when it was not compared or not near enough.
        bm25: How well the words match, 0 or more; None when none does, or words were not asked for.
    """

    dense: float | None
    bm25: float | None

    def is_weak(self, below: float | None) -> bool | None:
        """Say whether no word speaks for the hit and little nearness does: docs/adr/0040.

        Args:
            below: Cosines below this are little; None when nobody has said so for the model.

        Returns:
            None when it cannot be said.
        """
        if self.bm25 is not None:
            return False
        return None if below is None or self.dense is None else self.dense < below


class Ranked(NamedTuple):
    """A point with its final score."""

    id: UUID
    score: float
    explanation: Explanation


def fuse(
    dense: Sequence[Candidate],
    sparse: Sequence[Candidate],
    limit: int,
    dense_weight: float = DENSE_WEIGHT,
) -> list[Ranked]:
    """Return the best of the union of both lists, best first: `dense_weight * cosine + bm25`.

    What is missing in one list counts 0 there. Equal scores stand in the order of their ids, so that the same
    question has the same answer.
    """
    cosines = dict(dense)
    keywords = dict(sparse)
    scores = [(each, dense_weight * cosine + keywords.get(each, 0.0)) for each, cosine in dense]
    scores += [(each, score) for each, score in sparse if each not in cosines]
    return [
        Ranked(each, score, Explanation(cosines.get(each), keywords.get(each)))
        for each, score in _best(scores, limit)
    ]


def rank_by_nearness(dense: Sequence[Candidate], limit: int) -> list[Ranked]:
    """Return the nearest first; the score is the cosine."""
    return [Ranked(each, score, Explanation(score, None)) for each, score in _best(dense, limit)]


def rank_by_words(sparse: Sequence[Candidate], limit: int) -> list[Ranked]:
    """Return the best match of words first; the score is that of BM25."""
    return [Ranked(each, score, Explanation(None, score)) for each, score in _best(sparse, limit)]


def _best(scores: Sequence[tuple[UUID, float]], limit: int) -> list[tuple[UUID, float]]:
    if len(scores) > limit:
        # Numbers alone are sorted ten times as fast, and leave few to be sorted by both.
        least = sorted((score for _, score in scores), reverse=True)[limit - 1]
        scores = [scored for scored in scores if scored[1] >= least]
    return sorted(scores, key=lambda scored: (-scored[1], scored[0].int))[:limit]
