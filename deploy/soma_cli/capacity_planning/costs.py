"""The measured costs of events, memories and searches; `make load` measures them and writes `costs.json`."""

from bisect import bisect
from collections.abc import Iterable, Mapping
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field


class Cost(BaseModel):
    """A cost that grows with the text of a memory, and with the share of events that change a memory.

    Attributes:
        points: What was measured of new memories, each a size of the text in bytes and a cost, by size.
            Between two, and beyond the outer ones, the cost lies on the line through the two nearest.
        more_by_changes: By which share the cost grows where all events are changes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: tuple[tuple[float, float], ...] = Field(min_length=2)
    more_by_changes: float = Field(0.0, ge=0.0)

    def of(self, text_bytes: float, changes: float = 0.0) -> float:
        """Return the cost for a text of so many bytes, where this share of events are changes."""
        number = bisect(self.points, text_bytes, 1, len(self.points) - 1, key=lambda point: point[0])
        (small, cheap), (large, dear) = self.points[number - 1 : number + 1]
        cost = cheap + (dear - cheap) * (text_bytes - small) / (large - small)
        return max(0.0, cost) * (1.0 + self.more_by_changes * changes)

    @classmethod
    def measured(
        cls, new: Iterable[tuple[float, float]], changing: tuple[float, float, float] | None = None
    ) -> "Cost":
        """Return the cost through measurements; none falls with the size.

        Args:
            new: Of loads of new memories: sizes of texts in bytes, and costs.
            changing: Of a load with changes: the size, the cost, and the share of changes above 0.
        """
        points: list[tuple[float, float]] = []
        for size, cost in sorted(new):
            points.append((size, max(cost, points[-1][1] if points else 0.0)))
        cost_of_new = cls(points=tuple(points))
        if changing is None:
            return cost_of_new
        size, cost, share = changing
        without = cost_of_new.of(size)
        more = max(0.0, cost / without - 1.0) / share if without > 0.0 else 0.0
        return cls(points=tuple(points), more_by_changes=more)


class Costs(BaseModel):
    """What was measured on one machine.

    Attributes:
        measured: When, and on what machine.
        cpu_micros_per_event: Of each component, in microseconds of processor time, up to both stores.
        worker_micros_per_event: How long one worker of each group takes for an event, in microseconds.
        cpu_micros_per_search: Of each component, for a hybrid search.
        cpu_micros_per_api_write: What publishing through the API adds in the API.
        log_bytes_per_event: On the disk of one broker, compressed.
        history_bytes_per_event: In PostgreSQL.
        table_bytes_per_memory: In PostgreSQL, with indexes.
        index_bytes_per_memory: On the disk of the vector index, without its write-ahead log.
        index_memory_per_memory: Bytes of main memory that the index takes for a memory.
        process_megabytes: Main memory of each component without data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    measured: Mapping[str, str]
    cpu_micros_per_event: Mapping[str, Cost]
    worker_micros_per_event: Mapping[str, Cost]
    cpu_micros_per_search: Mapping[str, float]
    cpu_micros_per_api_write: float
    log_bytes_per_event: Cost
    history_bytes_per_event: Cost
    table_bytes_per_memory: Cost
    index_bytes_per_memory: Cost
    index_memory_per_memory: Cost
    process_megabytes: Mapping[str, float]


def measured_costs() -> Costs:
    """Return the costs that came with this version."""
    return Costs.model_validate_json(
        (files("soma_cli.capacity_planning") / "costs.json").read_text(encoding="utf-8"), strict=True
    )
