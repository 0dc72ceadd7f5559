"""The measured costs of events, memories and searches; `make load` measures them and writes `costs.json`."""

from collections.abc import Mapping
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

KILOBYTE = 1000


class Linear(BaseModel):
    """A cost that grows with the text of a memory, as a straight line.

    Attributes:
        base: Of a memory without text.
        per_kilobyte: More for each 1,000 bytes of text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: float
    per_kilobyte: float

    def of(self, text_bytes: float) -> float:
        """Return the cost for a text of so many bytes."""
        return self.base + self.per_kilobyte * text_bytes / KILOBYTE

    @classmethod
    def through(cls, one: tuple[float, float], other: tuple[float, float]) -> "Linear":
        """Return the line through two measurements, each a size in bytes and a cost; none falls."""
        (small, cheap), (large, dear) = sorted((one, other))
        slope = max(0.0, (dear - cheap) / (large - small) * KILOBYTE)
        return cls(base=max(0.0, cheap - slope * small / KILOBYTE), per_kilobyte=slope)


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
        index_bytes_per_memory: On the disk of the vector index.
        index_memory_per_memory: Bytes of main memory that the index takes for a memory.
        process_megabytes: Main memory of each component without data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    measured: Mapping[str, str]
    cpu_micros_per_event: Mapping[str, Linear]
    worker_micros_per_event: Mapping[str, Linear]
    cpu_micros_per_search: Mapping[str, float]
    cpu_micros_per_api_write: float
    log_bytes_per_event: Linear
    history_bytes_per_event: Linear
    table_bytes_per_memory: Linear
    index_bytes_per_memory: Linear
    index_memory_per_memory: Linear
    process_megabytes: Mapping[str, float]


def measured_costs() -> Costs:
    """Return the costs that came with this version."""
    return Costs.model_validate_json(
        (files("soma_cli.capacity_planning") / "costs.json").read_text(encoding="utf-8"), strict=True
    )
