"""From a load to partitions, processes, processors, memory and disk."""

import math
from dataclasses import dataclass

from soma_cli.capacity_planning.costs import Costs

DAY_SECONDS = 86_400
GIB = 2**30

# What may be used of a processor, a disk or a partition before more is planned.
USABLE = 0.6
# Segments that are closed and not deleted yet, and tables between two vacuums.
DISK_USABLE = 0.7
_FEWEST_PARTITIONS = 6
_SMALLEST_PROCESSOR = 0.1
# Of a search's processor time in the process that is API and index: docs/internals/search.md has its stages.
_ENGINE_SHARE = 0.5


@dataclass(frozen=True)
class Load:
    """What an installation has to take.

    Attributes:
        events_per_second: On average, over the days that data is kept.
        peak: So many times the average at the busiest minute; processes and partitions are planned for it.
        searches_per_second: At the busiest minute.
        text_bytes: Of a memory, on average.
        changes: The share of events that change a memory which is there.
        retention_days: How long a memory lives.
        log_days: How long the log keeps an event.
        history_days: How long the history keeps an event.
        replication: Copies of the log.
    """

    events_per_second: float
    peak: float
    searches_per_second: float
    text_bytes: float
    changes: float
    retention_days: float
    log_days: float
    history_days: float
    replication: int

    @property
    def peak_events(self) -> float:
        """Events per second at the busiest minute."""
        return self.events_per_second * self.peak

    @property
    def memories(self) -> float:
        """How many memories are there at once."""
        return self.events_per_second * (1 - self.changes) * self.retention_days * DAY_SECONDS


@dataclass(frozen=True)
class Need:
    """What one component needs.

    Attributes:
        processes: Of ours; None where the engine decides.
        processors: At the peak.
        memory_gib: In all.
        disk_gib: In all.
        because: How it was computed, in words.
    """

    component: str
    processes: int | None
    processors: float
    memory_gib: float
    disk_gib: float
    because: str


@dataclass(frozen=True)
class Plan:
    """What a load needs.

    Attributes:
        partitions: Of `memory.events`.
        memories: There at once.
        needs: Of each component.
    """

    partitions: int
    memories: float
    needs: tuple[Need, ...]


def plan(load: Load, costs: Costs) -> Plan:
    """Return what a load needs by the costs that were measured."""
    size, peak, memories = load.text_bytes, load.peak_events, load.memories
    changes = load.changes
    micros = {name: cost.of(size, changes) for name, cost in costs.worker_micros_per_event.items()}
    workers = {name: _processes(peak * cost) for name, cost in micros.items()}
    # Two for each worker: a group can grow to twice as many without a migration.
    partitions = _rounded(max(_FEWEST_PARTITIONS, 2 * max(workers.values())))
    per_search = costs.cpu_micros_per_search["api"]
    searches = {name: load.searches_per_second * cost for name, cost in costs.cpu_micros_per_search.items()}
    engine = searches.get("api", 0.0) * _ENGINE_SHARE
    api = searches.get("api", 0.0) - engine + peak * costs.cpu_micros_per_api_write
    replicas = max(2, _processes(api))
    cpu = {name: peak * cost.of(size, changes) for name, cost in costs.cpu_micros_per_event.items()}
    log_bytes = costs.log_bytes_per_event.of(size, changes)
    log = load.events_per_second * load.log_days * DAY_SECONDS * log_bytes
    history_bytes = costs.history_bytes_per_event.of(size, changes)
    history = load.events_per_second * load.history_days * DAY_SECONDS * history_bytes
    table_bytes = costs.table_bytes_per_memory.of(size, changes)
    tables = memories * table_bytes
    index_bytes = costs.index_bytes_per_memory.of(size, changes)
    index_disk = memories * index_bytes
    index_memory_bytes = costs.index_memory_per_memory.of(size, changes)
    index_memory = memories * index_memory_bytes
    base = costs.process_megabytes

    def worker(name: str, group: str) -> Need:
        return Need(
            name,
            workers[group],
            _processors(cpu.get(name, peak * micros[group])),
            _memory(base.get(name, base["worker-postgres"]) * workers[group]),
            0.0,
            f"{peak:,.0f} events/s of {micros[group]:,.0f} us, {USABLE:.0%} of a process used",
        )

    return Plan(
        partitions,
        memories,
        (
            Need(
                "kafka",
                None,
                _processors(cpu["kafka"] * load.replication),
                _memory(base["kafka"] * load.replication),
                log * load.replication / GIB / DISK_USABLE,
                f"{load.log_days:g} days of {log_bytes:,.0f} bytes, {load.replication} copies",
            ),
            Need(
                "postgres",
                None,
                _processors(cpu["postgres"] + searches.get("postgres", 0.0)),
                _memory(base["postgres"]) + 0.25 * tables / GIB,
                (tables + history) / GIB / DISK_USABLE,
                f"{memories:,.0f} memories of {table_bytes:,.0f} bytes and "
                f"{load.history_days:g} days of history of {history_bytes:,.0f} bytes; "
                "a quarter of the tables in memory",
            ),
            Need(
                "vector index",
                None,
                _processors(engine),
                index_memory / GIB / DISK_USABLE,
                index_disk / GIB / DISK_USABLE,
                f"{memories:,.0f} memories of {index_memory_bytes:,.0f} bytes of memory "
                f"and {index_bytes:,.0f} of disk; its half of the searches",
            ),
            worker("worker-postgres", "soma-postgres"),
            worker("worker-vectors", "soma-vectors"),
            Need(
                "api",
                replicas,
                _processors(api),
                _memory(base["api"] * replicas),
                0.0,
                f"{load.searches_per_second:,.0f} searches/s of {per_search * (1 - _ENGINE_SHARE):,.0f} us, "
                f"{peak:,.0f} writes/s of {costs.cpu_micros_per_api_write:,.0f}; two at least",
            ),
        ),
    )


def _processes(micros_per_second: float) -> int:
    return max(1, math.ceil(round(micros_per_second / 1e6 / USABLE, 6)))


def _processors(micros_per_second: float) -> float:
    return max(_SMALLEST_PROCESSOR, micros_per_second / 1e6 / USABLE)


def _memory(megabytes: float) -> float:
    return megabytes * 1e6 / GIB


def _rounded(partitions: int) -> int:
    """Return the next number of partitions that many numbers of workers divide."""
    return math.ceil(partitions / _FEWEST_PARTITIONS) * _FEWEST_PARTITIONS
