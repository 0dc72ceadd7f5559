"""A steady stream of new events that costs next to nothing to make: old ones under new event ids."""

from collections.abc import Iterator
from itertools import cycle
from threading import Event, Thread
from types import TracebackType
from typing import Self
from uuid import uuid4

from confluent_kafka import Producer

from benchmarks.events import made_up_events
from benchmarks.stage import CLOCK, Stage
from soma_schemas.registry import EventSerializer, open_registry
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_EVENTS

_POOL = 20_000
# The wire header, and the length of the string that is an event's first field: its id.
_ID = slice(6, 42)
_TICK_SECONDS = 0.02


class Stream:
    """Publishes so many events a second, as the broker allows, until the block ends.

    Attributes:
        published: Events that the broker was given.

    Args:
        stage: Where to.
        topics: Where to.
        rate: Events per second; it may be changed while it runs.
    """

    def __init__(self, stage: Stage, topics: TopicSettings, rate: float) -> None:
        self.published = 0
        self.rate = rate
        self._topic = MEMORY_EVENTS.full_name(topics)
        self._records = _records(stage, self._topic)
        self._producer = Producer(
            {
                "bootstrap.servers": stage.bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "compression.type": "zstd",
                "linger.ms": 5,
                "queue.buffering.max.messages": 200_000,
            }
        )
        self._over = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        due = 0.0
        last = CLOCK.monotonic()
        while not self._over.is_set():
            now = CLOCK.monotonic()
            due += (now - last) * self.rate
            last = now
            while due >= 1 and len(self._producer) < 100_000:  # noqa: PLR2004  # half of what it holds
                key, value = next(self._records)
                self._producer.produce(self._topic, value, key)
                self.published += 1
                due -= 1
            self._producer.poll(0)
            due = min(due, self.rate)  # what the broker did not take is not made up for
            CLOCK.block(_TICK_SECONDS)
        self._producer.flush(30)


def _records(stage: Stage, topic: str) -> Iterator[tuple[bytes, bytes]]:
    with open_registry(stage.parts.registry.settings()) as registry:
        serializer = EventSerializer(registry)
        pool = [(event.log_key(), serializer.serialize(event, topic)) for event in made_up_events(_POOL)]
    return (
        (key, value[: _ID.start] + str(uuid4()).encode() + value[_ID.stop :]) for key, value in cycle(pool)
    )
