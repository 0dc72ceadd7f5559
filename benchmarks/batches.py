"""What an event costs as batches grow."""

import asyncio
from typing import Any

from benchmarks import platform_worker, road
from benchmarks.budget import Budget
from benchmarks.results import as_json
from benchmarks.stage import Stage, tell

# Small batches get few events: each of them is a commit.
_SIZES = {1: 3_000, 10: 15_000, 100: 60_000, 500: 120_000, 2000: 150_000, 5000: 150_000}


async def measure(stage: Stage, budget: Budget) -> dict[str, Any]:
    """Return runs of the platform's worker with batches of several sizes."""
    topics = await asyncio.to_thread(stage.filled, budget.events(road.FILLED))
    runs: dict[str, list[dict[str, Any]]] = {}
    for size, events in _SIZES.items():
        run = await platform_worker.everything(stage, topics, budget.events(events), batch=size)
        runs[str(size)] = [as_json(run)]
        tell(f"batches of {size:5,}  {run.seconds / run.events * 1e6:8,.1f} us an event")
    return {"runs": runs}
