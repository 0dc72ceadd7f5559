"""Publishes what retention has to say, and waits out brokers that are away."""

from collections.abc import Sequence

from soma_schemas.events import Record
from soma_schemas.topics import Topic
from soma_schemas.versions import Position
from soma_streams.delivery.retry import Retry, Store
from soma_streams.record_publishing import Publisher, publish


class Publishing:
    """Sends records until all replicas have them. Those that were sent before come again after a failure.

    Args:
        publisher: What sends.
        retry: Waits for brokers and registry.
    """

    def __init__(self, publisher: Publisher[Record], retry: Retry) -> None:
        self._publisher = publisher
        self._retry = retry

    async def publish(self, records: Sequence[Record], topic: Topic) -> list[Position]:
        """Return where records lie, in their order, once all replicas have them.

        Raises:
            ProducerError: The brokers refuse one.
            RegistryError: The schema is not registered.
        """
        return await self._retry("publish", lambda: publish(self._publisher, records, topic), Store.KAFKA)
