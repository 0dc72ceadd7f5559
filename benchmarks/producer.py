"""How fast the platform's producer publishes: one after the other, many at once, from one thread."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from benchmarks.budget import Budget
from benchmarks.events import made_up_events
from benchmarks.stage import CLOCK, Stage, tell
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import TopicSettings

_ONE_BY_ONE = 1_000
_AT_ONCE = 30_000


async def measure(stage: Stage, budget: Budget) -> dict[str, Any]:
    """Return events per second, each acknowledged by the broker, of every way to publish."""
    topics = await asyncio.to_thread(stage.arrange, "producer")
    return await asyncio.to_thread(_publish, stage, topics, budget)


def _publish(stage: Stage, topics: TopicSettings, budget: Budget) -> dict[str, Any]:
    memories = [
        NewMemory(
            namespace=event.namespace,
            text=event.text,
            key=event.key,
            tags=event.tags,
            importance=event.importance,
            subject=event.subject,
            payload=json.loads(event.payload),
        )
        for event in made_up_events(min(_AT_ONCE, budget.events(_AT_ONCE)))
    ]
    singly = memories[: min(_ONE_BY_ONE, len(memories) // 2)]
    rates: dict[str, list[float]] = {"one by one": [], "many at once": []}
    with MemoryProducer(stage.publishing(topics), tenant="bench") as producer:
        producer.store_many(memories[:100])  # connections and schemas
        for _ in range(budget.rounds):
            rates["one by one"].append(_rate(len(singly), lambda: [producer.store(each) for each in singly]))
            rates["many at once"].append(_rate(len(memories), lambda: producer.store_many(memories)))
    for name, found in rates.items():
        tell(f"{name}: {', '.join(f'{rate:,.0f}/s' for rate in found)}")
    return {"rates": rates}


def _rate(events: int, publish: Callable[[], object]) -> float:
    began = CLOCK.monotonic()
    publish()
    return events / (CLOCK.monotonic() - began)
