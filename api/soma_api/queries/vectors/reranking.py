"""What a search does with its candidates once they have scores: bounds on the parts, and boosts. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import numpy as np

from soma_api.queries.vectors.fusion import Explanation, Ranked
from soma_schemas.moments import micros
from soma_schemas.vectors.payload import IMPORTANCE, OCCURRED_AT
from soma_schemas.vectors.points import unit_vector

# What a boost has to know of a point.
BOOST_FIELDS: Final = (IMPORTANCE, OCCURRED_AT)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least that parts of a score may be; None is no bound. A part that a hit lacks is below every bound.

    Attributes:
        dense: Of the cosine.
        bm25: Of the match of words.
    """

    dense: float | None = None
    bm25: float | None = None

    def is_met_by(self, explanation: Explanation) -> bool:
        """Say whether a hit's parts are high enough."""
        return all(
            least is None or (part is not None and part >= least)
            for least, part in ((self.dense, explanation.dense), (self.bm25, explanation.bm25))
        )


@dataclass(frozen=True, slots=True)
class Boost:
    """What is added to the score of a memory beside its parts.

    Attributes:
        importance: So much for a memory of importance 1, in proportion for others.
        recency: So much for a memory that happens now; half of it after each half-life.
        half_life: Of recency; longer than nothing.
    """

    importance: float = 0.0
    recency: float = 0.0
    half_life: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Context:
    """What a question is asked in the light of.

    Attributes:
        text: Compared as a question is; None: no text.
        memory_ids: Memories; those that the reader cannot see are as good as not named.
        weight: How far the question's vector is moved towards their mean, 0 to 1.
    """

    text: str | None = None
    memory_ids: tuple[UUID, ...] = ()
    weight: float = 0.3


def above(threshold: Threshold, ranked: Iterable[Ranked]) -> list[Ranked]:
    """Return what meets a threshold, in the same order."""
    return [each for each in ranked if threshold.is_met_by(each.explanation)]


def boosted(
    ranked: Sequence[Ranked],
    points: Mapping[UUID, Mapping[str, Any]],
    boost: Boost,
    now: datetime,
    limit: int,
) -> list[Ranked]:
    """Return the best after boosts, best first; equal ones stay in their order.

    What `points` lacks has gone meanwhile.

    Args:
        ranked: With their scores.
        points: `BOOST_FIELDS` of each.
        boost: What is added.
        now: When a memory would be as recent as can be; later ones are as well.
        limit: As many are returned at most.
    """
    told = {}
    for each in ranked:
        point = points.get(each.id)
        if point is not None:
            age = max(0, micros(now) - point[OCCURRED_AT]) / micros_of(boost.half_life)
            by_importance, by_recency = boost.importance * point[IMPORTANCE], boost.recency * 0.5**age
            told[each.id] = Ranked(
                each.id,
                each.score + by_importance + by_recency,
                replace(each.explanation, importance_boost=by_importance, recency_boost=by_recency),
            )
    return sorted(told.values(), key=lambda each: -each.score)[:limit]


def diverse(
    ranked: Sequence[Ranked], vectors: Mapping[UUID, Sequence[float]], diversity: float, limit: int
) -> list[Ranked]:
    """Return hits so that each adds something to those before it (maximal marginal relevance).

    Each next hit has the greatest `(1 - diversity) * relevance - diversity * nearness`: its score as a share
    of the range of all scores, and its cosine with the nearest hit before it.

    Args:
        ranked: Best first.
        vectors: Their dense vectors, of length one; what has none is near to nothing.
        diversity: 0 leaves the order as it is, 1 looks at differences alone.
        limit: As many are returned at most.
    """
    if not ranked:
        return []
    scores = np.array([each.score for each in ranked])
    least, most = scores.min(), scores.max()
    relevance = (scores - least) / (most - least) if most > least else np.ones(len(ranked))
    dimensions = max(map(len, vectors.values()), default=1)
    matrix = np.array([vectors.get(each.id) or [0.0] * dimensions for each in ranked])
    nearness = np.zeros(len(ranked))
    chosen: list[int] = []
    while len(chosen) < min(limit, len(ranked)):
        worth = (1 - diversity) * relevance - diversity * nearness
        worth[chosen] = -np.inf
        following = int(worth.argmax())
        cosines = matrix @ matrix[following]
        nearness = np.maximum(nearness, cosines) if chosen else cosines
        chosen.append(following)
    return [ranked[each] for each in chosen]


def shifted(
    question: Sequence[float], context: Sequence[Sequence[float]], weight: float
) -> Sequence[float] | None:
    """Return a question's vector moved towards the mean of some others, of length one.

    Args:
        question: Of length one, as all are.
        context: Of none, the question stays.
        weight: 0 leaves the question as it is, 1 leaves the mean alone.

    Returns:
        None where they cancel each other out.
    """
    if not context:
        return question
    mean = np.mean(np.array(context), axis=0)
    moved: list[float] = ((1 - weight) * np.array(question) + weight * mean).tolist()
    return unit_vector(moved)


def micros_of(duration: timedelta) -> int:
    """Return a duration in microseconds."""
    return duration // timedelta(microseconds=1)
