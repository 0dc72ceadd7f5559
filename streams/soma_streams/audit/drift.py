"""What an audit finds, by kind, and how it is told: counts, and at most so many examples of each."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from soma_schemas.versions import Position
from soma_streams.delivery.state import MemoryName

_EXAMPLES = 20


class Drift(StrEnum):
    """How two of the log, the tables and the index can differ for good."""

    EVENT_LOST = (
        "event_lost"  # the log has it below the watermark, and the history does not say what became of it
    )
    ROW_MISSING = "row_missing"  # an event was applied to a memory of which there is no row
    ROW_STALE = "row_stale"  # the row is older than the last event that was applied to it
    POINT_MISSING = "point_missing"  # there is a row and no point
    POINT_STALE = "point_stale"  # the point is older than the row
    POINT_AHEAD = "point_ahead"  # the point is newer than the row, past which the records have come
    POINT_EXTRA = "point_extra"  # it lives, and the row is deleted; or nothing knows of its memory
    POINT_UNEMBEDDED = "point_unembedded"  # it has not the vectors that its text has
    POINT_WRONG = "point_wrong"  # of the same version as the row, and says something else
    OVERDUE = "overdue"  # it should have expired a while ago: the sweeper's business


# An audit looks at it, and it is no difference between stores.
NOT_DRIFT = frozenset({Drift.OVERDUE})


@dataclass(slots=True)
class Tally:
    """The findings of one kind.

    Attributes:
        found: How many there were.
        mended: How many of them are gone again.
        examples: The first ones, as ids without content.
    """

    found: int = 0
    mended: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many there still are."""
        return self.found - self.mended


@dataclass(slots=True)
class Findings:
    """What one audit saw.

    Attributes:
        tallies: By kind, all kinds.
        events: Records of the log that were looked at.
        memories: Rows that were looked at, tombstones included.
        points: Points that were looked at, tombstones included.
        dead_lettered: Points that differ from their rows because an event is a dead letter of one sink alone.
        undecided: Differences that may be mere lag, because a sink did not get on.
    """

    tallies: dict[Drift, Tally] = field(default_factory=lambda: {kind: Tally() for kind in Drift})
    events: int = 0
    memories: int = 0
    points: int = 0
    dead_lettered: int = 0
    undecided: int = 0

    def add(
        self,
        kind: Drift,
        name: MemoryName | None = None,
        *,
        position: Position | None = None,
        point: UUID | None = None,
    ) -> None:
        """Count a finding; the first of each kind are kept as examples."""
        tally = self.tallies[kind]
        tally.found += 1
        if len(tally.examples) < _EXAMPLES:
            told = {
                "tenant": name.tenant if name is not None else None,
                "memory_id": str(name.memory_id) if name is not None else None,
                "position": str(position) if position is not None else None,
                "point": str(point) if point is not None else None,
            }
            tally.examples.append({key: value for key, value in told.items() if value is not None})

    def as_json(self) -> dict[str, Any]:
        """Return everything, for the audit log and whoever asked."""
        return {
            "events": self.events,
            "memories": self.memories,
            "points": self.points,
            "dead_lettered": self.dead_lettered,
            "undecided": self.undecided,
            "findings": {
                kind.value: {"found": each.found, "mended": each.mended, "examples": each.examples}
                for kind, each in self.tallies.items()
                if each.found
            },
        }
