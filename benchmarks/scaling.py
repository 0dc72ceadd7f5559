"""Two workers beside one."""

import asyncio
from typing import Any

from benchmarks import platform_worker
from benchmarks.budget import Budget
from benchmarks.results import as_json
from benchmarks.road import FILLED
from benchmarks.stage import Stage, tell

_EVENTS = 150_000


async def measure(stage: Stage, budget: Budget) -> dict[str, Any]:
    """Return how long one worker and two take for the same events, in turn."""
    topics = await asyncio.to_thread(stage.filled, budget.events(FILLED))
    runs: dict[str, list[dict[str, Any]]] = {"1": [], "2": []}
    for _ in range(budget.rounds):
        for count, kept in runs.items():
            run = await platform_worker.everything(stage, topics, budget.events(_EVENTS), int(count))
            kept.append(as_json(run))
            tell(f"{count} worker(s)  {run.rate:9,.0f} events/s")
    return {"runs": runs}
