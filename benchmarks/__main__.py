"""`python -m benchmarks`: measure one thing or all, and write the page about it."""

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks import batches, latency, memory, outage, producer, report, road, scaling, vectors
from benchmarks.budget import QUICK, Budget
from benchmarks.results import Results
from benchmarks.stage import CLOCK, Stage, open_stage, tell
from soma_cli.invocation import Invocation
from soma_schemas.logs import configure_logging
from soma_schemas.settings import LogSettings

_FOLDER = Path("build/benchmarks")
_PAGE = Path("docs/performance.md")

# How long to look at what else the machine does.
_LISTEN_SECONDS = 2.0

Measurement = Callable[[Stage, Budget], Awaitable[dict[str, Any]]]

# The most telling first: a run that is ended early has them.
# With the seconds after which one is given up.
MEASUREMENTS: Mapping[str, tuple[Measurement, float]] = {
    "road": (road.measure, 1500),
    "latency": (latency.measure, 120),
    "vectors": (vectors.measure, 420),
    "scaling": (scaling.measure, 240),
    "producer": (producer.measure, 120),
    "batches": (batches.measure, 240),
    "outage": (outage.measure, 180),
    "memory": (memory.measure, 1200),
}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=[*MEASUREMENTS, "all", "report"])
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean little")
    parser.add_argument("--resume", action="store_true", help="measure only what has no result yet")
    parser.add_argument("--rounds", type=int, default=Budget.rounds, help="how often each thing is measured")
    parser.add_argument("--minutes", type=float, default=Budget.minutes, help="how long memory is watched")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="keeps the stack's data and the results")
    parser.add_argument("--page", type=Path, default=_PAGE, help="where the page about it goes")
    arguments = parser.parse_args()
    budget = QUICK if arguments.quick else Budget(rounds=arguments.rounds, minutes=arguments.minutes)
    results = Results(arguments.folder / ("quick" if arguments.quick else "results"))
    if arguments.what != "report":
        wanted = list(MEASUREMENTS) if arguments.what == "all" else [arguments.what]
        if arguments.what == "all" and not arguments.resume:
            results.clear()
        if arguments.resume:
            wanted = [name for name in wanted if results.load(name) is None]
        configure_logging(LogSettings(level="error"))
        asyncio.run(_measure(wanted, arguments.folder.resolve(), budget, results))
    report.write(results, arguments.folder / "quick.md" if arguments.quick else arguments.page)


async def _measure(wanted: list[str], folder: Path, budget: Budget, results: Results) -> None:
    async with open_stage(folder, Invocation(os.environ).cache) as stage:
        for name in wanted:
            measure, seconds = MEASUREMENTS[name]
            tell(f"== {name}")
            busy = await asyncio.to_thread(psutil.cpu_percent, _LISTEN_SECONDS)
            began = CLOCK.monotonic()
            try:
                async with asyncio.timeout(seconds):
                    found = await measure(stage, budget)
            except Exception as error:  # noqa: BLE001  # what was measured is worth keeping without the rest
                tell(f"{name} was not measured: {error!r}")
                continue
            results.save(name, {**found, "busy_percent": busy, "took_seconds": CLOCK.monotonic() - began})


if __name__ == "__main__":
    main()
