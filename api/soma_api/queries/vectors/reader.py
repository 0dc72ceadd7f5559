"""The protocol of a search engine. Nothing here writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from qdrant_edge import SparseVector

from soma_api.queries.vectors.conditions import Condition, OneOf
from soma_api.queries.vectors.fusion import Candidate


@dataclass(frozen=True, slots=True)
class Question:
    """What candidates are looked for by.

    Attributes:
        conditions: All of them hold for each candidate.
        corpus: The points among which the rarity of words is counted: those of the tenant, so that no
            tenant's words move another's scores.
        dense: A vector to be near to, or None.
        sparse: Words to match, or None.
        limit: Most candidates of each kind.
    """

    conditions: Sequence[Condition]
    corpus: OneOf
    dense: Sequence[float] | None
    sparse: SparseVector | None
    limit: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """What was found, best first in each kind; equal scores stand in any order."""

    dense: Sequence[Candidate] = ()
    sparse: Sequence[Candidate] = ()


@dataclass(frozen=True, slots=True)
class Unscored:
    """Candidates of one kind, whose score in the other is wanted.

    Attributes:
        dense: To be compared with the question's vector.
        sparse: To be compared with its words.
    """

    dense: Sequence[UUID]
    sparse: Sequence[UUID]


class PointReader(Protocol):
    """Finds points; one contract suite runs on every engine."""

    async def candidates(self, question: Question) -> Candidates:
        """Return the nearest points, and those with matching words, in one round trip."""
        ...

    async def latest(self, conditions: Sequence[Condition], limit: int) -> Sequence[UUID]:
        """Return at most so many points that meet the conditions, those whose memories happened last first.

        What happened at the same time stands in any order.
        """
        ...

    async def scores(self, question: Question, unscored: Unscored) -> Candidates:
        """Return what a question scores these points at, in one round trip.

        A point that matches no word, has no vector or does not meet the conditions any more has no score. How
        many there are is bounded by `unscored` alone.
        """
        ...

    async def vectors(
        self, ids: Sequence[UUID], conditions: Sequence[Condition]
    ) -> Mapping[UUID, Sequence[float]]:
        """Return the dense vectors of those of these points that meet the conditions and have one."""
        ...

    async def payloads(
        self, ids: Sequence[UUID], conditions: Sequence[Condition], fields: Sequence[str]
    ) -> Mapping[UUID, Mapping[str, Any]]:
        """Return these fields of the points that still meet the conditions."""
        ...
