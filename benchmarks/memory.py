"""How much memory a worker has under full load, over minutes."""

import asyncio
from typing import Any

from benchmarks import platform_worker
from benchmarks.budget import Budget
from benchmarks.recycled import Stream
from benchmarks.stage import CLOCK, Stage, tell

_LOOK_SECONDS = 1.0
_BACKLOG = 60_000
_START_RATE = 5_000
_MOST_RATE = 60_000
_LOG_MB = 128
_EMPTY_HISTORY_SECONDS = 30.0


async def measure(stage: Stage, budget: Budget) -> dict[str, Any]:
    """Keep a worker busy without a pause, and return its memory second by second."""
    topics = await asyncio.to_thread(stage.arrange, stage.new_name("memory"))
    await asyncio.to_thread(stage.keep_no_more_than, topics, _LOG_MB)
    await asyncio.to_thread(platform_worker.reset, stage, topics)
    stream = await asyncio.to_thread(Stream, stage, topics, _START_RATE)
    progress = platform_worker.Progress(stage)
    curve: list[tuple[float, float]] = []
    with platform_worker.running(stage, topics) as (worker,), stream:
        while await asyncio.to_thread(progress.events) <= 0:
            worker.require()
            await CLOCK.sleep(0.1)
        began = CLOCK.monotonic()
        first = progress.events()
        emptied = began
        settled = first
        while (now := CLOCK.monotonic()) - began < budget.minutes * 60:
            worker.require()
            settled = await asyncio.to_thread(progress.events)
            curve.append((now - began, worker.rss_mb()))
            # As much as the worker takes, and not so much that the log grows without end.
            behind = stream.published - settled
            stream.rate = min(_MOST_RATE, stream.rate * 1.2) if behind < _BACKLOG else stream.rate * 0.8
            if now - emptied > _EMPTY_HISTORY_SECONDS:
                # A row for every event: the disk would fill up, which is not what is measured.
                await asyncio.to_thread(stage.execute, "TRUNCATE memory_history")
                emptied = now
            await CLOCK.sleep(_LOOK_SECONDS)
        seconds = CLOCK.monotonic() - began
    progress.close()
    await asyncio.to_thread(stage.forget, topics)
    tell(f"{(settled - first) / seconds:,.0f} events/s, at most {max(mb for _, mb in curve):.0f} MB")
    return {"curve": curve, "rate": (settled - first) / seconds, "minutes": budget.minutes}
