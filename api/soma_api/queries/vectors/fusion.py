"""Fusion of vector and keyword scores into one: pure, the same for every engine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

_ALIKE = 1e-6


class Candidate(NamedTuple):
    """A point that an engine found, with its score in one kind of search."""

    id: UUID
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a score is made of.

    Attributes:
        dense: Cosine between question and memory, -1 to 1; None when it was not compared.
        bm25: How well the words match, 0 or more; None when none does, or words were not asked for.
        dense_z_score: How far the cosine lies above the mean of the candidates, in standard deviations; only
            where both parts make the score.
        bm25_z_score: The same of the words.
        importance_boost: What the memory's importance added; None where it was not asked for.
        recency_boost: The same of when it happened.
    """

    dense: float | None
    bm25: float | None
    dense_z_score: float | None = None
    bm25_z_score: float | None = None
    importance_boost: float | None = None
    recency_boost: float | None = None

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


def fuse(dense: Sequence[Candidate], sparse: Sequence[Candidate], limit: int) -> list[Ranked]:
    """Return the best candidates, best first, by the mean of the z-scores of cosine and BM25.

    Each score says how far it lies above the mean of all candidates, in standard deviations, so that neither
    kind outweighs the other by its scale: docs/adr/0072. Equal scores stand in the order of their ids, so
    that the same question has the same answer.

    Args:
        dense: The cosines of the candidates; a missing one counts 0.
        sparse: The scores of those that have a word; a missing one is 0.
        limit: As many are returned at most.
    """
    cosines, keywords = dict(dense), dict(sparse)
    every = list(cosines | keywords)
    near = _z_scores([cosines.get(each, 0.0) for each in every])
    matching = _z_scores([keywords.get(each, 0.0) for each in every])
    parts = dict(zip(every, zip(near, matching, strict=True), strict=True))
    scores = [(each, (by_meaning + by_words) / 2) for each, (by_meaning, by_words) in parts.items()]
    return [
        Ranked(each, score, Explanation(cosines.get(each), keywords.get(each), *parts[each]))
        for each, score in best(scores, limit)
    ]


def _z_scores(values: Sequence[float]) -> list[float]:
    if not values:
        return []
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    # Values that are alike but for rounding say nothing.
    if deviation <= _ALIKE * max(map(abs, values)):
        return [0.0] * len(values)
    return [(value - mean) / deviation for value in values]


def rank_by_nearness(dense: Sequence[Candidate], limit: int) -> list[Ranked]:
    """Return the nearest first; the score is the cosine."""
    return [Ranked(each, score, Explanation(score, None)) for each, score in best(dense, limit)]


def rank_by_words(sparse: Sequence[Candidate], limit: int) -> list[Ranked]:
    """Return the best match of words first; the score is that of BM25."""
    return [Ranked(each, score, Explanation(None, score)) for each, score in best(sparse, limit)]


def rank_as_found(found: Sequence[Candidate], limit: int) -> list[Ranked]:
    """Return candidates in the order in which they were found, where no part makes the score."""
    return [Ranked(each, score, Explanation(None, None)) for each, score in found[:limit]]


def best(scores: Sequence[tuple[UUID, float]], limit: int) -> list[tuple[UUID, float]]:
    """Return the best, best first; equal scores in the order of their ids."""
    if len(scores) > limit:
        # Numbers alone are sorted ten times as fast, and leave few to be sorted by both.
        least = sorted((score for _, score in scores), reverse=True)[limit - 1]
        scores = [scored for scored in scores if scored[1] >= least]
    return sorted(scores, key=lambda scored: (-scored[1], scored[0].int))[:limit]
