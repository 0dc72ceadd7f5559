"""Publishes a workload from a thread of its own, and publishes again whatever no broker acknowledged."""

import queue
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import closing
from typing import Self

from confluent_kafka import KafkaError, Message, Producer

from chaos.workload import Sent, Workload, spoiled
from soma_schemas.clock import SystemClock
from soma_schemas.producer import EventPublisher, Receipt
from soma_schemas.registry import EventSerializer, RegistryUnreachableError, open_registry
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.versions import Position

_AT_ONCE = 200
_PAUSE_SECONDS = 0.08
_IN_TIME_SECONDS = 240.0


class Publishing:
    """A producer service under fire; a context manager.

    Valid events go through the product's own publisher, which stamps and acknowledges; spoiled ones as raw
    records.

    Args:
        settings: Brokers, topics, registry.
        workload: What is published.

    Attributes:
        acknowledged: Where the log says that it has each record.
        published_again: How often a record was sent again because nobody had acknowledged it in time.
    """

    def __init__(self, settings: PublishingSettings, workload: Workload) -> None:
        self.acknowledged: list[Position] = []
        self.published_again = 0
        self._workload = workload
        self._topic = MEMORY_EVENTS.full_name(settings.topics)
        self._events = EventPublisher(settings)
        self._registry = open_registry(settings.registry)
        self._serializer = EventSerializer(self._registry)
        self._producer = Producer(
            settings.kafka.librdkafka()
            | {"enable.idempotence": True, "partitioner": "murmur2_random", "delivery.timeout.ms": 8000}
        )
        self._orders: queue.Queue[int | None] = queue.Queue()
        self._unacknowledged: queue.SimpleQueue[Sent] = queue.SimpleQueue()
        self._pending = 0
        self._counted = threading.Lock()
        self._failure: BaseException | None = None
        self._clock = SystemClock()
        self._thread = threading.Thread(target=self._run, name="publishing")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._orders.put(None)
        self._thread.join()
        with closing(self._events), closing(self._registry):
            self._producer.flush(10)

    def publish(self, count: int) -> None:
        """Have so many more records published; returns at once."""
        self._orders.put(count)

    def finish(self) -> None:
        """Wait until the log has acknowledged everything.

        Raises:
            AssertionError: It did not in time.
        """
        self._orders.put(None)
        self._thread.join(_IN_TIME_SECONDS)
        assert self._failure is None, f"publishing failed: {self._failure!r}"
        assert not self._thread.is_alive(), f"{self._pending} records were not acknowledged in time"

    def _run(self) -> None:
        try:
            while (count := self._orders.get()) is not None:
                self._send(self._workload.take(count))
            while self._pending or not self._unacknowledged.empty():
                self._again()
                self._producer.poll(_PAUSE_SECONDS)
        except BaseException as error:  # noqa: BLE001  # told by `finish`, in the thread that waits
            self._failure = error

    def _send(self, records: Iterable[Sent]) -> None:
        for number, sent in enumerate(records, start=1):
            self._one(sent)
            if number % _AT_ONCE == 0:
                self._producer.poll(0)
                self._again()
                self._clock.block(_PAUSE_SECONDS)

    def _again(self) -> None:
        # Only what waits now: with the registry away each of them comes back at once.
        for _ in range(self._unacknowledged.qsize()):
            self.published_again += 1
            self._one(self._unacknowledged.get())

    def _one(self, sent: Sent) -> None:
        with self._counted:
            self._pending += 1
        try:
            self._publish(sent)
        except RegistryUnreachableError:
            self._lost(sent)  # the schema of a kind of event that was not published before

    def _publish(self, sent: Sent) -> None:
        key = sent.event.log_key()
        if sent.poison is not None:
            value = self._serializer.serialize(sent.event, self._topic)
            spoiled_key, spoiled_value = spoiled(sent, key, value)
            if (spoiled_key, spoiled_value) != (key, value):
                self._raw(sent, spoiled_key, spoiled_value)
                return
        self._events.publish([sent.event]).add_done_callback(lambda receipts: self._told(sent, receipts))

    def _raw(self, sent: Sent, key: bytes, value: bytes | None) -> None:
        def told(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                self._lost(sent)
            else:
                self._has(Position(partition, offset))

        self._producer.produce(self._topic, key=key, value=value, on_delivery=told)

    def _told(self, sent: Sent, receipts: "Future[list[Receipt]]") -> None:
        if receipts.exception() is not None:
            self._lost(sent)
            return
        (receipt,) = receipts.result()
        self._workload.acknowledged(sent.event, receipt.position)
        self._has(receipt.position)

    def _has(self, position: Position) -> None:
        with self._counted:
            self.acknowledged.append(position)
            self._pending -= 1

    def _lost(self, sent: Sent) -> None:
        self._unacknowledged.put(sent)
        with self._counted:
            self._pending -= 1
