"""Publishes what retention has to say, and waits out brokers that are away."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from soma_schemas.events import Record
from soma_schemas.topics import Topic
from soma_schemas.versions import Position
from soma_streams.delivery.retry import Retry, Store


class Publisher(Protocol):
    """What sends records to their topics."""

    def send(self, records: Sequence[Record], topic: Topic) -> "Future[list[Position]]":
        """Queue records; the future ends when all replicas have them all."""
        ...


class Publishing:
    """Sends records until all replicas have them. Those that were sent before come again after a failure.

    Args:
        publisher: What sends.
        retry: Waits for brokers and registry.
    """

    def __init__(self, publisher: Publisher, retry: Retry) -> None:
        self._publisher = publisher
        self._retry = retry

    async def publish(self, records: Sequence[Record], topic: Topic) -> list[Position]:
        """Return where records lie, in their order, once all replicas have them.

        Raises:
            ProducerError: The brokers refuse one.
            RegistryError: The schema is not registered.
        """

        async def publish() -> list[Position]:
            # Queueing blocks while the queue is full.
            sent = await asyncio.to_thread(self._publisher.send, records, topic)
            return await asyncio.wrap_future(sent)

        return await self._retry("publish", publish, Store.KAFKA)
