"""What the vector sink asks of an engine."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from soma_schemas.vectors.points import Point, StoredPoint


class PointWriter(Protocol):
    """Keeps points; one contract suite runs on every engine."""

    async def prepare(self) -> None:
        """Make what is missing of the store, before the first call of any other method.

        Raises:
            MismatchError: It is there, and not as declared.
        """
        ...

    async def check(self) -> None:
        """Return when the store is as declared, so that a refusal can only be about the points.

        Raises:
            MismatchError: It is not.
        """
        ...

    async def read(self, ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return the payloads of the points that are there, tombstones included, exactly as written."""
        ...

    async def look(self, ids: Collection[UUID]) -> Mapping[UUID, StoredPoint]:
        """Return the points that are there as `read` does, and which vectors each has."""
        ...

    async def page(self, start: UUID, most: int) -> Sequence[StoredPoint]:
        """Return the points from an id on, in the order of their ids; none means that there are no more."""
        ...

    async def write(self, points: Sequence[Point], *, mends: bool = False) -> frozenset[UUID]:
        """Insert each point, or replace it where the stored version is older. Safe to repeat.

        A point is replaced whole: vectors that the new one lacks are gone.

        Args:
            points: At most one of each memory.
            mends: Replace those of the same version too: what is stored was damaged since.

        Returns:
            The points that stayed as they were because the stored version is newer. One of the same version
            stays as it is too unless it is mended, and counts as written: it is this very state.

        Raises:
            UnfitVectorError: A dense vector has another size than the collection's; nothing was written.
            ValueError: Two points are of one memory; nothing was written.
            IndexRefusedError: The engine refused a point; others may have been written.
        """
        ...

    async def flush(self) -> None:
        """Return once everything written survives a crash."""
        ...

    async def is_empty(self) -> bool:
        """Say whether there is no point at all."""
        ...

    async def count(self) -> int:
        """Return about how many points there are, in no time."""
        ...

    async def renew(self, *, keep_former: bool) -> None:
        """Begin anew: from now on everybody meets an empty index.

        Args:
            keep_former: Leave what was there where an operator finds it, if the engine can share it with
                others: it may be theirs.
        """
        ...
