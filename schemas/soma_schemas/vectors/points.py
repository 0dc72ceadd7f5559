"""A point of the vector index: its identity, its vectors, and what no engine may be handed."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from qdrant_edge import SparseVector

from soma_schemas.identity import named_uuid
from soma_schemas.vectors.index_errors import UnfitVectorError

# Names of the two vectors of a point.
DENSE = "dense"
SPARSE = "bm25"

_LENGTH_TOLERANCE = 1e-3
# Models that normalize do so in float32.
_LENGTH_EXACT = 1e-6


def point_id(tenant: str, memory_id: UUID) -> UUID:
    """Return the id of a memory's point. It covers the tenant: see docs/adr/0004."""
    return named_uuid(memory_id, tenant)


@dataclass(frozen=True, slots=True)
class Point:
    """What is written for one memory.

    Attributes:
        version: The same that the payload carries; the engines guard with it.
        payload: As `soma_schemas.vectors.payload` makes it.
        dense: Of length one; None when there is nothing to compare, as for a tombstone.
        sparse: Weights of the words of its text; None likewise.

    Raises:
        UnfitVectorError: The dense vector is not finite or not of length one.
    """

    id: UUID
    version: int
    payload: Mapping[str, Any]
    dense: Sequence[float] | None
    sparse: SparseVector | None

    def __post_init__(self) -> None:
        if self.dense is None:
            return
        length = math.hypot(*self.dense)
        # Written so that NaN fails too. The engines take NaN, and such a point then ranks first everywhere.
        if not abs(length - 1.0) < _LENGTH_TOLERANCE:
            raise UnfitVectorError("the dense vector of a point is not of length one")


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as an engine has it.

    Attributes:
        vectors: The names of the vectors that it has.
    """

    id: UUID
    payload: Mapping[str, Any]
    vectors: frozenset[str]


def unit_vector(numbers: Sequence[float]) -> list[float] | None:
    """Return a vector of length one with the same direction, or None when all numbers are zero.

    Raises:
        UnfitVectorError: A number is not finite.
    """
    length = math.hypot(*numbers)
    if length == 0.0:
        return None
    if abs(length - 1.0) < _LENGTH_EXACT:
        return list(numbers)
    if not math.isfinite(length):
        # Finite numbers can have a length beyond float64.
        largest = max(map(abs, numbers))
        if not all(map(math.isfinite, numbers)):
            raise UnfitVectorError("the vector holds a number that is not finite")
        numbers = [number / largest for number in numbers]
        length = math.hypot(*numbers)
    return [number / length for number in numbers]


def check_batch(points: Collection[Point], dimensions: int) -> None:
    """Refuse points that an engine would take, or take in part, and should not.

    Raises:
        UnfitVectorError: A dense vector is not of the collection's size.
        ValueError: Two points are of one memory: the last would win whatever its version.
    """
    if len({point.id for point in points}) != len(points):
        raise ValueError("a batch holds at most one point per memory: fold first")
    for point in points:
        if point.dense is not None and len(point.dense) != dimensions:
            raise UnfitVectorError(
                f"a vector has {len(point.dense)} numbers, the collection holds vectors of {dimensions}"
            )
