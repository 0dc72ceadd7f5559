"""The arithmetic of measuring: percentiles and recall."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from soma_cli.benchmark.questions import Name

_RESAMPLES = 2_000


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least so many percent do not exceed (the nearest rank).

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no values, no percentile")
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


@dataclass(frozen=True)
class Asked:
    """A question that was asked: what answers it, and what was found, best first."""

    question: str
    answers: Sequence[Name]
    found: Sequence[Name]

    def recall(self, at: int) -> float:
        """Return which share of the answers is among the first `at` that were found.

        A question with more answers than places is judged by its places.
        """
        among = set(self.found[:at])
        return sum(answer in among for answer in self.answers) / min(len(self.answers), at)

    def is_answered(self, at: int) -> bool:
        """Say whether any answer is among the first `at` that were found."""
        return not set(self.answers).isdisjoint(self.found[:at])


def bootstrap_interval(values: Sequence[float], percent: float = 95) -> tuple[float, float]:
    """Return between which bounds the mean of as many such values lies, with so many percent.

    The bounds are percentiles of the means of resamples, drawn with replacement; the same each time.

    Raises:
        ValueError: There are no values.
    """
    random = Random(0)  # noqa: S311  # the same each time is what is wanted
    count = len(values)
    means = [sum(random.choices(values, k=count)) / count for _ in range(_RESAMPLES)] if values else []
    outside = (100 - percent) / 2
    return percentile(means, outside), percentile(means, 100 - outside)


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value."""
    return sum(values) / len(values)
