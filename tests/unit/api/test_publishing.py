import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from itertools import count

import pytest

from builders import an_id, stored
from soma_api.problems import EncryptionUnavailableError, LogUnavailableError
from soma_api.publishing import EventLog
from soma_schemas.clock import yield_now
from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.events import MemoryEvent, Record
from soma_schemas.producer import DeliveryTimeoutError, Receipt, Tombstone
from soma_schemas.registry import RegistryUnreachableError
from soma_schemas.topics import MEMORY_POLICIES, Topic
from soma_schemas.versions import Position

Receipts = Future[list[Receipt]]


class Publisher:
    """Does with each event what the test says."""

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.answer: Callable[[Sequence[MemoryEvent], Receipts], None] = self.acknowledge
        self.offset = 0

    def publish(self, events: Sequence[MemoryEvent]) -> Receipts:
        self.threads.add(threading.current_thread().name)
        receipts: Receipts = Future()
        self.answer(events, receipts)
        return receipts

    def send(self, records: Sequence[Record | Tombstone], topic: Topic) -> Future[list[Position]]:
        del topic
        self.threads.add(threading.current_thread().name)
        positions: Future[list[Position]] = Future()
        positions.set_result([Position(0, number) for number in range(len(records))])
        return positions

    def acknowledge(self, events: Sequence[MemoryEvent], receipts: Receipts) -> None:
        positions = (Position(0, offset) for offset in count(self.offset))
        receipts.set_result(
            [
                Receipt(event.event_id, event.memory_id, position)
                for event, position in zip(events, positions, strict=False)
            ]
        )
        self.offset += len(events)


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
async def log(publisher: Publisher) -> AsyncIterator[EventLog]:
    log = EventLog(publisher, threads=1, timeout=30)
    yield log
    log.close()


@pytest.fixture
async def impatient_log(publisher: Publisher) -> AsyncIterator[EventLog]:
    log = EventLog(publisher, threads=1, timeout=0.05)
    yield log
    log.close()


async def test_receipts_come_in_the_order_of_the_events(log: EventLog) -> None:
    events = [stored() for _ in range(5)]

    receipts = await log.publish(events, an_id())

    assert [receipt.event_id for receipt in receipts] == [event.event_id for event in events]
    assert [receipt.position.offset for receipt in receipts] == [0, 1, 2, 3, 4]


async def test_records_of_another_topic_are_sent_as_events_are(log: EventLog, publisher: Publisher) -> None:
    positions = await log.send([Tombstone(an_id(), b"acme/")], MEMORY_POLICIES, an_id())

    assert positions == [Position(0, 0)]
    assert threading.current_thread().name not in publisher.threads


async def test_the_event_loop_is_never_given_to_a_publisher_that_may_block(
    log: EventLog, publisher: Publisher
) -> None:
    await log.publish([stored()], an_id())

    assert threading.main_thread().name not in publisher.threads


async def test_a_log_that_does_not_acknowledge_is_unavailable_and_says_how_to_try_again(
    impatient_log: EventLog, publisher: Publisher
) -> None:
    publisher.answer = lambda events, receipts: None  # noqa: ARG005  # never answers
    key = an_id()

    with pytest.raises(LogUnavailableError) as failed:
        await impatient_log.publish([stored()], key)

    assert failed.value.members == {"idempotency_key": str(key)}
    assert "may have been written" in (failed.value.remedy or "")
    assert str(key) in (failed.value.remedy or "")


async def test_a_failed_delivery_is_unavailable(log: EventLog, publisher: Publisher) -> None:
    def fail(events: Sequence[MemoryEvent], receipts: Receipts) -> None:
        del events
        receipts.set_exception(DeliveryTimeoutError("no broker acknowledged the event in time"))

    publisher.answer = fail

    with pytest.raises(LogUnavailableError):
        await log.publish([stored()], an_id())


async def test_an_unreachable_registry_is_unavailable(log: EventLog, publisher: Publisher) -> None:
    def fail(events: Sequence[MemoryEvent], receipts: Receipts) -> None:
        del events, receipts
        raise RegistryUnreachableError("the schema registry gives no answer")

    publisher.answer = fail

    with pytest.raises(LogUnavailableError, match="registry"):
        await log.publish([stored()], an_id())


async def test_a_write_that_has_no_key_to_be_encrypted_with_is_unavailable_and_names_none(
    log: EventLog, publisher: Publisher
) -> None:
    def fail(events: Sequence[MemoryEvent], receipts: Receipts) -> None:
        del events, receipts
        raise MasterKeyError("data key 7 is wrapped with another master key")

    publisher.answer = fail

    with pytest.raises(EncryptionUnavailableError) as failed:
        await log.publish([stored()], an_id())

    assert (failed.value.status, failed.value.retryable) == (503, True)
    assert "data key" not in str(failed.value)


async def test_a_request_that_gave_up_before_its_turn_is_not_published(
    log: EventLog, publisher: Publisher
) -> None:
    begun, release = threading.Event(), threading.Event()

    def block(events: Sequence[MemoryEvent], receipts: Receipts) -> None:
        begun.set()
        release.wait(30)
        publisher.acknowledge(events, receipts)

    publisher.answer = block
    first = asyncio.create_task(log.publish([stored()], an_id()))
    await asyncio.to_thread(begun.wait, 30)
    second = asyncio.create_task(log.publish([stored()], an_id()))
    await yield_now()
    for each in (first, second):
        each.cancel()
    await asyncio.wait([first, second])
    release.set()
    publisher.answer = publisher.acknowledge

    (receipt,) = await log.publish([stored()], an_id())

    assert receipt.position.offset == 1
