"""What was aimed at, and whether a run reached it."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks import road, vectors
from benchmarks.results import Results

TO_LOOPS_BY_HAND = 1.6
TO_STOCK_FAUST = 1.0
LATENCY_MS = 10.0
TWO_WORKERS = 1.6
MEMORIES_PER_SECOND = 2_500
PUBLISHED_PER_SECOND = 10_000
WORKER_MB = 300
GROWTH = 0.1
# Of the time that memory is watched, in which caches fill.
_WARMING = 0.2


@dataclass(frozen=True)
class Aim:
    """One aim.

    Attributes:
        aim: The figure aimed at.
        measured: What it was.
    """

    what: str
    aim: str
    measured: str
    reached: bool


def aims(results: Results) -> list[Aim]:
    """Return every aim of which something was measured."""
    return [*_road(results), *_others(results), *_memory(results)]


def _road(results: Results) -> Iterator[Aim]:
    found = results.load("road")
    if found is None:
        return
    rates = {name: _rate(found, name) for name in found["runs"]}
    loops = [rates[name] for name in (road.BY_HAND_CONFLUENT, road.BY_HAND_AIOKAFKA) if name in rates]
    if not loops:
        return
    stock = rates.get(road.STOCK_FAUST)
    for what, ours, other, factor in (
        ("everything the platform does, to the best loop by hand", road.OURS, max(loops), TO_LOOPS_BY_HAND),
        ("everything the platform does, to stock Faust", road.OURS, stock, TO_STOCK_FAUST),
        ("the same without the native extension", road.OURS_BY_REFERENCE, stock, TO_STOCK_FAUST),
    ):
        if ours in rates and other:
            ratio = rates[ours] / other
            yield Aim(what, f"{factor:.1f} x", f"{ratio:.2f} x", ratio >= factor)


def _others(results: Results) -> Iterator[Aim]:
    if found := results.load("latency"):
        p50 = median(found["seconds"]) * 1000
        what = "one event on an idle system in PostgreSQL, p50"
        yield Aim(what, f"at most {LATENCY_MS:.0f} ms", f"{p50:.1f} ms", p50 <= LATENCY_MS)
    if found := results.load("scaling"):
        ratio = _rate(found, "2") / _rate(found, "1")
        what = f"two workers, to one, on {found['machine']['cores']} cores"
        yield Aim(what, f"{TWO_WORKERS:.1f} x", f"{ratio:.2f} x", ratio >= TWO_WORKERS)
    if found := results.load("vectors"):
        rate = _rate(found, vectors.EMBEDDING)
        what = "memories into the vector index, with the packaged embedder"
        yield Aim(what, f"{MEMORIES_PER_SECOND:,}/s", f"{rate:,.0f}/s", rate >= MEMORIES_PER_SECOND)
    if found := results.load("producer"):
        rate = median(found["rates"]["many at once"])
        what = "memories with a payload published by `store_many` from one thread"
        yield Aim(what, f"{PUBLISHED_PER_SECOND:,}/s", f"{rate:,.0f}/s", rate >= PUBLISHED_PER_SECOND)


def _memory(results: Results) -> Iterator[Aim]:
    found = results.load("memory")
    if found is None:
        return
    held = [mb for _, mb in found["curve"]]
    settled = held[int(len(held) * _WARMING) :]
    growth = settled[-1] / settled[0] - 1
    over = f"over {found['minutes']:g} minutes at full rate"
    yield Aim(
        f"a worker's memory {over}", f"at most {WORKER_MB} MB", f"{max(held):.0f} MB", max(held) <= WORKER_MB
    )
    yield Aim(
        f"its growth after the first fifth {over}",
        f"at most {GROWTH:.0%}",
        f"{growth:+.0%}",
        growth <= GROWTH,
    )


def _rate(found: dict[str, Any], name: str) -> float:
    return float(median(run["events"] / run["seconds"] for run in found["runs"][name]))
