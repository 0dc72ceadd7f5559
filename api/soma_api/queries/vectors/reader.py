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


class PointReader(Protocol):
    """Finds points; one contract suite runs on every engine."""

    async def candidates(self, question: Question) -> Candidates:
        """Return the nearest points, and those with matching words, in one round trip."""
        ...

    async def payloads(
        self, ids: Sequence[UUID], conditions: Sequence[Condition], fields: Sequence[str]
    ) -> Mapping[UUID, Mapping[str, Any]]:
        """Return these fields of the points that still meet the conditions."""
        ...
