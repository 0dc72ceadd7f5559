"""How fast the backlog of an outage goes: PostgreSQL is stopped while events keep coming, then started."""

import asyncio
from typing import Any

from benchmarks import platform_worker
from benchmarks.budget import Budget
from benchmarks.recycled import Stream
from benchmarks.stage import CLOCK, Stage, tell

_RATE = 2_000
_BEFORE_SECONDS = 5.0
_AWAY_SECONDS = 15.0
_PATIENCE_SECONDS = 100.0
_LOOK_SECONDS = 0.1
_CAUGHT_UP = 500


async def measure(stage: Stage, budget: Budget) -> dict[str, Any]:
    """Return the backlog over time, and how fast it went once PostgreSQL was back."""
    topics = await asyncio.to_thread(stage.arrange, stage.new_name("outage"))
    await asyncio.to_thread(platform_worker.reset, stage, topics)
    stream = await asyncio.to_thread(Stream, stage, topics, _RATE)
    progress = platform_worker.Progress(stage)
    curve: list[tuple[float, int]] = []
    with platform_worker.running(stage, topics) as workers, stream:
        began = CLOCK.monotonic()

        async def watch(seconds: float, until: int = -1) -> tuple[float, int]:
            last = max(0, curve[-1][1]) if curve else 0
            deadline = CLOCK.monotonic() + seconds
            while CLOCK.monotonic() < deadline:
                workers[0].require()
                settled = await asyncio.to_thread(progress.events)
                last = stream.published - settled if settled >= 0 else stream.published - known[0]
                known[0] = max(known[0], settled)
                curve.append((CLOCK.monotonic() - began, last))
                if settled >= 0 and last <= until:
                    break
                await CLOCK.sleep(_LOOK_SECONDS)
            return CLOCK.monotonic() - began, last

        known = [0]
        while (await watch(0.5))[0] < _PATIENCE_SECONDS and known[0] == 0:
            continue  # the worker starts
        await watch(budget.seconds(_BEFORE_SECONDS))
        await stage.parts.postgres.stop()
        gone = CLOCK.monotonic() - began
        await watch(budget.seconds(_AWAY_SECONDS))
        await stage.parts.postgres.start()
        back, backlog = CLOCK.monotonic() - began, curve[-1][1]
        settled_before = known[0]
        ended, left = await watch(_PATIENCE_SECONDS, until=_CAUGHT_UP)
    progress.close()
    await asyncio.to_thread(stage.forget, topics)
    rate = (known[0] - settled_before) / (ended - back)
    tell(f"{backlog:,} events waited when PostgreSQL came back, {left:,} of them {ended - back:.1f} s later")
    return {
        "rate_in": _RATE,
        "gone_at": gone,
        "back_at": back,
        "caught_up_at": ended if left <= _CAUGHT_UP else None,
        "backlog": backlog,
        "rate": rate,
        "curve": curve,
    }
