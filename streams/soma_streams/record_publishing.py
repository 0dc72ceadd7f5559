"""Publishes from a loop: nothing waits while records are queued, and who asked while replicas take them."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol, TypeVar

from soma_schemas.topics import Topic
from soma_schemas.versions import Position

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Publisher(Protocol[R_contra]):
    """What sends records to their topics."""

    def send(self, records: Sequence[R_contra], topic: Topic) -> "Future[list[Position]]":
        """Queue records; the future ends when all replicas have them all."""
        ...


async def publish(publisher: Publisher[R], records: Sequence[R], topic: Topic) -> list[Position]:
    """Return where records lie, in their order, once all replicas have them.

    Raises:
        ProducerError: The brokers do not take one.
        RegistryError: The schema is not registered, or the registry does not answer.
    """
    # Queueing blocks while the queue is full.
    return await asyncio.wrap_future(await asyncio.to_thread(publisher.send, records, topic))
