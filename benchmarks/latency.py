"""How long one event takes on a system that has nothing else to do: from publishing it to seeing it."""

import asyncio
from random import Random
from typing import Any

import psycopg

from benchmarks import platform_worker
from benchmarks.budget import Budget
from benchmarks.stage import CLOCK, Stage
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import TopicSettings

_EVENTS = 300
_WARMING = 20
_PATIENCE_SECONDS = 20.0
# Asking without a pause would take a whole core from what is measured.
_LOOK_SECONDS = 0.0005


async def measure(stage: Stage, budget: Budget) -> dict[str, Any]:
    """Store memories one after the other, with pauses, and return how long each took to be in PostgreSQL."""
    topics = await asyncio.to_thread(stage.arrange, "latency")
    await asyncio.to_thread(platform_worker.reset, stage, topics)
    with platform_worker.running(stage, topics):
        events = max(_WARMING, int(_EVENTS * budget.share))
        return await asyncio.to_thread(_store_each, stage, topics, events)


def _store_each(stage: Stage, topics: TopicSettings, count: int) -> dict[str, Any]:
    random = Random(1)  # noqa: S311  # spreads the pauses
    seen: list[float] = []
    acknowledged: list[float] = []
    with (
        MemoryProducer(stage.publishing(topics), tenant="bench") as producer,
        psycopg.connect(stage.dsn(), autocommit=True) as connection,
    ):
        for number in range(count + _WARMING):
            CLOCK.block(random.uniform(0.01, 0.05))
            began = CLOCK.monotonic()
            receipt = producer.store(NewMemory(namespace="latency", text=f"memory number {number}"))
            sent = CLOCK.monotonic()
            while not connection.execute(
                "SELECT FROM memories WHERE tenant = 'bench' AND memory_id = %s", [receipt.memory_id]
            ).rowcount:
                CLOCK.block(_LOOK_SECONDS)
                # The first one waits for the worker to start.
                if CLOCK.monotonic() - began > _PATIENCE_SECONDS * (3 if number == 0 else 1):
                    raise TimeoutError("an event did not come through")
            seen.append(CLOCK.monotonic() - began)
            acknowledged.append(sent - began)
    return {"seconds": seen[_WARMING:], "acknowledged": acknowledged[_WARMING:]}
