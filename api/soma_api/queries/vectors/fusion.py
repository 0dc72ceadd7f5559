"""How nearness and keywords become one score: pure, the same whichever engine found the candidates."""

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


class Ranked(NamedTuple):
    """A point with its final score."""

    id: UUID
    score: float
    explanation: Explanation


def fuse(
    dense: Sequence[Candidate], sparse: Sequence[Candidate], dense_weight: float = DENSE_WEIGHT
) -> list[Ranked]:
    """Return the union of both lists, best first: `dense_weight * cosine + bm25`.

    What is missing in one list counts 0 there. Equal scores stand in the order of their ids, so that the same
    question has the same answer.
    """
    cosines = dict(dense)
    keywords = dict(sparse)
    ranked = [
        Ranked(
            each,
            dense_weight * cosines.get(each, 0.0) + keywords.get(each, 0.0),
            Explanation(cosines.get(each), keywords.get(each)),
        )
        for each in cosines.keys() | keywords.keys()
    ]
    return sorted(ranked, key=_best_first)


def rank_by_nearness(dense: Sequence[Candidate]) -> list[Ranked]:
    """Return the nearest first; the score is the cosine."""
    return sorted((Ranked(each, score, Explanation(score, None)) for each, score in dense), key=_best_first)


def rank_by_words(sparse: Sequence[Candidate]) -> list[Ranked]:
    """Return the best match of words first; the score is that of BM25."""
    return sorted((Ranked(each, score, Explanation(None, score)) for each, score in sparse), key=_best_first)


def _best_first(ranked: Ranked) -> tuple[float, int]:
    return -ranked.score, ranked.id.int
