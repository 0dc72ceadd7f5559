"""From the log into the vector index, with the embedding and without it."""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks import platform_worker
from benchmarks.budget import Budget
from benchmarks.results import as_json
from benchmarks.road import FILLED
from benchmarks.stage import Stage, tell
from soma_schemas.groups import SinkGroup

EMBEDDING = "with the packaged embedder"
NO_EMBEDDING = "without embedding"
_FORMS = {EMBEDDING: "packaged", NO_EMBEDDING: "costless"}
_EVENTS = 30_000


async def measure(stage: Stage, budget: Budget) -> dict[str, Any]:
    """Return runs of the vector worker into an empty index."""
    topics = await asyncio.to_thread(stage.filled, budget.events(FILLED))
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(budget.rounds):
        for name, form in _FORMS.items():
            index = stage.folder / "index"
            shutil.rmtree(index, ignore_errors=True)
            await asyncio.to_thread(platform_worker.reset, stage, topics, SinkGroup.VECTORS)
            script = Path(__file__).with_name("contenders") / "our_vectors.py"
            command = [sys.executable, str(script), str(index), form]
            with platform_worker.running(stage, topics, command=command) as workers:
                run = await platform_worker.timed(stage, workers, budget.events(_EVENTS), SinkGroup.VECTORS)
            runs.setdefault(name, []).append(as_json(run))
            tell(f"{name:28} {run.rate:9,.0f} memories/s")
    return {"runs": runs}
