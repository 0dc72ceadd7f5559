"""Wires the eraser to the brokers, the registry and the key that signs."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from functools import partial

from soma_schemas.clock import Clock
from soma_schemas.erasure_receipts import ReceiptSigner
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import EventPublisher
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS
from soma_streams.erasure.eraser import Eraser
from soma_streams.erasure.erasure_metrics import ErasureMetrics
from soma_streams.erasure.erasure_store import ErasureStore
from soma_streams.erasure.log_copies import log_copies
from soma_streams.erasure.receipts import Copy
from soma_streams.log_state import log_state
from soma_streams.record_publishing import publish
from soma_streams.replay.originals import Originals
from soma_streams.settings import RetentionWorkerSettings
from soma_streams.sinks.sessions import Pool


@asynccontextmanager
async def open_eraser(
    settings: RetentionWorkerSettings, pool: Pool, clock: Clock, metrics: MetricSet
) -> AsyncIterator[Eraser]:
    """Yield the eraser of a process.

    Raises:
        SigningKeyError: A key is named, and there is none.
    """
    key = settings.erasure.signing_key_file
    signer = None if key is None else ReceiptSigner.of_file(key)

    async def copies() -> Sequence[Copy]:
        return await asyncio.to_thread(log_copies, settings.kafka, settings.topics)

    with (
        closing(EventPublisher(settings)) as publisher,
        Originals(settings.kafka, settings.topics, clock) as letters,
    ):
        yield Eraser(
            store=ErasureStore(pool),
            publish=partial(publish, publisher),
            signer=signer,
            letters=letters,
            copies=copies,
            log_ends=lambda: ends_of_log(settings),
            topics=settings.topics,
            clock=clock,
            metrics=ErasureMetrics(metrics),
        )


async def replayable(settings: RetentionWorkerSettings) -> timedelta:
    """Return how old an event can be that is delivered again: the oldest of the log became a dead letter.

    Raises:
        BrokerError: The brokers do not tell how long they keep records, or keep them for ever.
    """
    topics = {topic.full_name(settings.topics) for topic in (MEMORY_EVENTS, DEAD_LETTERS)}
    copies = await asyncio.to_thread(log_copies, settings.kafka, settings.topics)
    return sum((copy.keeps for copy in copies if copy.topic in topics), start=timedelta(0))


async def ends_of_log(settings: RetentionWorkerSettings) -> Mapping[int, int]:
    """Return where the log of events ends, by partition.

    Raises:
        BrokerError: The brokers do not tell.
    """
    return (await asyncio.to_thread(log_state, settings.kafka, settings.topics)).ends
