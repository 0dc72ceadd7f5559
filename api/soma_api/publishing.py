"""Publishes events to the log and waits for the acknowledgement, without blocking the event loop."""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar
from uuid import UUID

import structlog

from soma_api.problems import EncryptionUnavailableError, LogUnavailableError
from soma_schemas.encryption.encryption_errors import EncryptionError
from soma_schemas.events import MemoryEvent, Record
from soma_schemas.producer import ProducerError, Receipt, Tombstone
from soma_schemas.registry import RegistryError
from soma_schemas.topics import Topic
from soma_schemas.versions import Position

# Writes handed to the client at once; they block only while the registry or the brokers are slow.
_THREADS = 4

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Publisher(Protocol):
    """What the API needs of a producer; `soma_schemas.producer.EventPublisher` is one."""

    def publish(self, events: Sequence[MemoryEvent]) -> "Future[list[Receipt]]":
        """Queue events, in their order; the future ends when all replicas have them all.

        Raises:
            RegistryError: The event's schema is not registered, or the registry cannot be reached.
            ProducerError: The events could not be queued.
        """
        ...

    def send(self, records: Sequence[Record | Tombstone], topic: Topic) -> "Future[list[Position]]":
        """Queue records of a topic, in their order; the future ends when all replicas have them all.

        Raises:
            RegistryError: A schema is not registered, or the registry cannot be reached.
            ProducerError: The records could not be queued.
        """
        ...


class EventLog:
    """Publishes on behalf of requests.

    Args:
        publisher: Blocks while the registry or the brokers are slow, and so runs on threads of its own.
        timeout: Seconds after which a request gives up waiting.
        threads: Of the publisher: so many requests can be handed to it at once.
    """

    def __init__(self, publisher: Publisher, *, timeout: float, threads: int = _THREADS) -> None:
        self._publisher = publisher
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="soma-api-publish")
        self._timeout = timeout

    async def publish(self, events: Sequence[MemoryEvent], idempotency_key: UUID) -> list[Receipt]:
        """Send valid events, in order, and wait until the log has them all.

        Args:
            events: Of one request.
            idempotency_key: Under which the same request can be sent again; told when this one fails.

        Raises:
            LogUnavailableError: The log did not acknowledge all of them in time. Some, or all, may have been
                written.
            EncryptionUnavailableError: One has to be encrypted, and cannot be.
        """
        return await self._acknowledged(lambda: self._publisher.publish(events), len(events), idempotency_key)

    async def send(
        self, records: Sequence[Record | Tombstone], topic: Topic, idempotency_key: UUID
    ) -> list[Position]:
        """Send valid records to a topic, in order, and wait until it has them all.

        Args:
            records: Of one request.
            topic: Carries them.
            idempotency_key: As for `publish`.

        Raises:
            LogUnavailableError: As `publish`.
        """
        return await self._acknowledged(
            lambda: self._publisher.send(records, topic), len(records), idempotency_key
        )

    async def _acknowledged(
        self, send: "Callable[[], Future[list[T]]]", count: int, idempotency_key: UUID
    ) -> list[T]:
        try:
            async with asyncio.timeout(self._timeout):
                # In the thread, too, it is this request that publishes: its trace, and its id in the log.
                in_context = contextvars.copy_context().run
                sent = await asyncio.wrap_future(self._threads.submit(in_context, send))
                return await asyncio.wrap_future(sent)
        except TimeoutError:
            log.warning("publish_timed_out", events=count, seconds=self._timeout)
            raise _unavailable("the log did not acknowledge it in time", idempotency_key) from None
        except EncryptionError as error:
            log.warning("encryption_failed", events=count, code=error.code, error=str(error))
            raise EncryptionUnavailableError("there is no key to encrypt it with") from error
        except (ProducerError, RegistryError) as error:
            log.warning("publish_failed", events=count, code=error.code, error=str(error))
            raise _unavailable(str(error), idempotency_key) from error

    def close(self) -> None:
        """Let go of the threads; the publisher belongs to whoever made it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _unavailable(message: str, idempotency_key: UUID) -> LogUnavailableError:
    return LogUnavailableError(
        message,
        remedy=f"It may have been written all the same. Send it again with `Idempotency-Key: "
        f"{idempotency_key}`: applied twice it changes nothing.",
        members={"idempotency_key": str(idempotency_key)},
    )
