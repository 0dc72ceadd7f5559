"""Publish memory events: validated before they are sent, acknowledged by all replicas before they count."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import UUID

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from pydantic_core import PydanticCustomError

from soma_schemas import tracing
from soma_schemas.clock import Clock, SystemClock
from soma_schemas.encryption.encryption_errors import KeysUnavailableError
from soma_schemas.encryption.event_sealer import EventSealer, Keys
from soma_schemas.errors import SomaError
from soma_schemas.events import (
    DataKeyWrapped,
    MemoryDeleted,
    MemoryEvent,
    MemoryLinked,
    MemoryPatched,
    MemoryStored,
    MemoryUnlinked,
    PatchField,
    Record,
)
from soma_schemas.fields import Kind, written_json
from soma_schemas.identity import identified, new_id
from soma_schemas.log_epochs import says_closed, topics_in_force
from soma_schemas.memories import SAID
from soma_schemas.native_writer import Stamps
from soma_schemas.registry import EventSerializer, SerializedEvent, open_registry
from soma_schemas.secret_files import fingerprint
from soma_schemas.settings import PublishingSettings, TopicSettings
from soma_schemas.topics import MEMORY_EVENTS, MEMORY_KEYS, Topic
from soma_schemas.versions import Position
from soma_schemas.violations import ContractError, violation_of

if TYPE_CHECKING:
    # A library of servers; whoever gives metrics has it.
    from soma_schemas.producer_metrics import ProducerMetrics

_Headers = list[tuple[str, str | bytes | None]]

# No broker acknowledged in time; the event may have been written all the same.
TIMEOUTS = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError.REQUEST_TIMED_OUT})  # noqa: SLF001  # the client's public spelling

# While no broker answers, whatever waits for them waits for long enough.
_LOOK_SECONDS = 2.0
_GONE = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001  # public
)

_POLL_SECONDS = 0.1
# How often to see whether credentials were replaced, and how long to wait for what the former ones sent.
_CREDENTIALS_SECONDS = 1.0
_LET_GO_SECONDS = 5.0
# How long to leave brokers alone that have refused a client for good, before another one asks.
_REFUSED_SECONDS = 10.0
_GROUP_EVENTS = 500
_LOG = logging.getLogger(__name__)  # the standard library's: this runs in programs of others
_NO_BROKERS = frozenset(
    {KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._SSL}  # noqa: SLF001  # public
)


class ProducerError(SomaError):
    """Events were not published, or nobody knows whether they were.

    Args:
        message: What happened, to which events.
        remedy: What the reader can do next; overrides the class's own.
        failed: The ids of these events, in the order in which they were given; those that were given with
            them and are not among these are in the log.
    """

    code = "producer"

    def __init__(self, message: str, *, remedy: str | None = None, failed: Sequence[UUID] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.failed = tuple(failed)


class DeliveryTimeoutError(ProducerError):
    """No broker acknowledged an event in time. It may have been written all the same."""

    code = "delivery_timeout"
    remedy = "Publish it again with the same event_id: applied twice it changes nothing."


class DeliveryRefusedError(ProducerError):
    """The brokers refuse an event."""

    code = "delivery_refused"
    remedy = "Check the topic (`soma topics check`) and the rights of this client."


class LogClosedError(ProducerError):
    """The log takes no events: `memory.events` is being migrated, or was since the last look."""

    code = "log_closed"
    remedy = "Publish it again, a second later, with the same event_id."


class ProducerClosedError(ProducerError):
    """The producer was closed."""

    code = "producer_closed"
    remedy = "Make a new producer."


class Receipt(NamedTuple):
    """Proof that the log has an event.

    Attributes:
        position: Where it lies; readers can wait for it.
    """

    event_id: UUID
    memory_id: UUID
    position: Position


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The end of what a compacted topic holds under a key.

    Attributes:
        event_id: Names it where it is not acknowledged.
        key: Of the records that it ends, as their `log_key` has it.
    """

    event_id: UUID
    key: bytes
    value = None

    def log_key(self) -> bytes:
        """Return the key."""
        return self.key


Sendable = Record | SerializedEvent | Tombstone


@dataclass(frozen=True, kw_only=True)
class NewMemory:
    """A memory to be stored, before it has an identity. See `MemoryStored` for the fields.

    Attributes:
        memory_id: Only for a memory with neither key nor coordinate; None makes a new one.
        event_id: Give the same one when trying again; None makes a new one.
        occurred_at: None means now.
    """

    namespace: str
    text: str
    key: str | None = None
    coordinate: Sequence[float] | None = None
    memory_id: UUID | None = None
    kind: Kind = Kind.EPISODIC
    payload: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    importance: float = 0.5
    embedding: Sequence[float] | None = None
    embedding_model: str | None = None
    subject: str | None = None
    source: str | None = None
    expires_at: datetime | None = None
    expected_version: int | None = None
    event_id: UUID | None = None
    occurred_at: datetime | None = None
    actor: str | None = None


class MemoryProducer:
    """Publishes events of one tenant. Thread-safe; close it, or use it as a context manager.

    Args:
        settings: Brokers, topics, registry and limits.
        tenant: Stamped on every event.
        actor: Who acts, where an event does not say.
        clock: Tells when an event occurred, where it does not say.
        metrics: Counts what is published; one for all producers of a process.
        keys: Encrypt what is about a subject; without them it is published in plain text, and erasing the
            subject leaves it in the log until it ages out.
    """

    def __init__(
        self,
        settings: PublishingSettings,
        *,
        tenant: str,
        actor: str = "producer",
        clock: Clock | None = None,
        metrics: "ProducerMetrics | None" = None,
        keys: Keys | None = None,
    ) -> None:
        self._events = EventPublisher(settings, metrics, keys)
        self._limits = settings.limits
        self._tenant = tenant
        self._actor = actor
        self._clock = clock or SystemClock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def store(self, memory: NewMemory) -> Receipt:
        """Publish a memory and wait until the log has it.

        Raises:
            ContractError: The memory breaks the contract; nothing was sent.
            ProducerError: The log did not acknowledge it.
        """
        return self._published(self._ready(memory))

    async def store_async(self, memory: NewMemory) -> Receipt:
        """Publish a memory and wait until the log has it, without blocking the event loop.

        Raises:
            ContractError: The memory breaks the contract; nothing was sent.
            ProducerError: The log did not acknowledge it.
        """
        (receipt,) = await asyncio.wrap_future(self._events.publish([self._ready(memory)]))
        return receipt

    def store_many(self, memories: Iterable[NewMemory]) -> list[Receipt]:
        """Publish memories and wait until the log has them all, in the order given.

        Raises:
            ContractError: One breaks the contract; paths begin with its number. Those before it were sent.
            ProducerError: The log did not acknowledge some, whose events are named.
        """
        return self._events.publish(self._numbered(memories)).result()

    def patch(
        self,
        namespace: str,
        memory_id: UUID,
        changes: Mapping[PatchField, Any],
        *,
        embedding_model: str | None = None,
        expected_version: int | None = None,
    ) -> Receipt:
        """Publish a change to some fields of a memory and wait until the log has it.

        Args:
            namespace: Of the memory.
            memory_id: Of the memory.
            changes: New values by field; `payload` as a merge patch (RFC 7396), None clears.
            embedding_model: With a new embedding.
            expected_version: Change only this version.

        Raises:
            ContractError: The change breaks the contract; nothing was sent.
            ProducerError: The log did not acknowledge it.
        """
        values: dict[str, Any] = {name.value: None for name in PatchField} | {
            PatchField(name).value: value for name, value in changes.items()
        }
        written = None if values["payload"] is None else _payload_text(values["payload"])
        event = MemoryPatched.validated(
            self._common(namespace, memory_id)
            | values
            | {
                "payload": written,
                "fields": list(changes),
                "embedding_model": embedding_model,
                "expected_version": expected_version,
            },
            self._limits,
            written=written,
        )
        return self._published(event)

    def delete(self, namespace: str, memory_id: UUID, *, expected_version: int | None = None) -> Receipt:
        """Publish the end of a memory and wait until the log has it.

        Raises:
            ContractError: An argument breaks the contract; nothing was sent.
            ProducerError: The log did not acknowledge it.
        """
        fields = self._common(namespace, memory_id) | {"expected_version": expected_version}
        return self._published(MemoryDeleted.validated(fields, self._limits))

    def link(
        self, namespace: str, memory_id: UUID, to_memory_id: UUID, link_type: str, weight: float = 1.0
    ) -> Receipt:
        """Publish an edge from one memory to another and wait until the log has it.

        Raises:
            ContractError: An argument breaks the contract; nothing was sent.
            ProducerError: The log did not acknowledge it.
        """
        edge = {"to_memory_id": to_memory_id, "link_type": link_type, "weight": weight}
        fields = self._common(namespace, memory_id) | edge
        return self._published(MemoryLinked.validated(fields, self._limits))

    def unlink(self, namespace: str, memory_id: UUID, to_memory_id: UUID, link_type: str) -> Receipt:
        """Publish the end of an edge and wait until the log has it.

        Raises:
            ContractError: An argument breaks the contract; nothing was sent.
            ProducerError: The log did not acknowledge it.
        """
        edge = {"to_memory_id": to_memory_id, "link_type": link_type}
        fields = self._common(namespace, memory_id) | edge
        return self._published(MemoryUnlinked.validated(fields, self._limits))

    def stored(self, memory: NewMemory) -> MemoryStored:
        """Return the event that stores a memory, without sending it.

        Raises:
            ContractError: The memory breaks the contract.
        """
        return self._stored(self._stamps(memory), memory)

    def publish(self, events: Iterable[MemoryEvent]) -> "Future[list[Receipt]]":
        """Send validated events, in their order; the future ends when all replicas have them all.

        It fails with a `ProducerError` that names the events which the log did not acknowledge.

        Raises:
            RegistryError: A schema is not registered, or the registry cannot be reached.
            ProducerError: The producer is closed.
        """
        return self._events.publish(events)

    def flush(self) -> None:
        """Wait until everything that was sent has its answer."""
        self._events.flush()

    def close(self) -> None:
        """Wait until everything that was sent has its answer, then let go of the brokers."""
        self._events.close()

    def _published(self, event: MemoryEvent | SerializedEvent) -> Receipt:
        (receipt,) = self._events.publish([event]).result()
        return receipt

    def _numbered(self, memories: Iterable[NewMemory]) -> Iterator[MemoryStored | SerializedEvent]:
        for number, memory in enumerate(memories):
            try:
                yield self._ready(memory)
            except ContractError as error:
                raise error.within(f"/{number}") from None

    def _ready(self, memory: NewMemory) -> MemoryStored | SerializedEvent:
        """Return what stores a memory; an event only where the model has to look at it."""
        stamps = self._stamps(memory)
        return self._events.serialize_natively(stamps, memory) or self._stored(stamps, memory)

    def _stamps(self, memory: NewMemory) -> Stamps:
        now = self._clock.now()
        is_named = memory.key is not None or memory.coordinate is not None
        return Stamps(
            memory.event_id or new_id(now),
            self._tenant,
            memory.memory_id or (None if is_named else new_id(now)),
            memory.occurred_at or now,
            memory.actor or self._actor,
        )

    def _stored(self, stamps: Stamps, memory: NewMemory) -> MemoryStored:
        written = _payload_text(memory.payload)
        named = identified(stamps.tenant, memory.namespace, memory.key, memory.coordinate)
        return MemoryStored.validated(
            {name: getattr(memory, name) for name in SAID}
            | stamps._asdict()
            | {
                # What names it may be none: that is for the model to say.
                "memory_id": stamps.memory_id or named or new_id(self._clock.now()),
                "coordinate": _listed(memory.coordinate),
                "payload": written,
                "tags": _listed(memory.tags),
                "embedding": _listed(memory.embedding),
                "expected_version": memory.expected_version,
            },
            self._limits,
            written=written,
        )

    def _common(self, namespace: str, memory_id: UUID) -> dict[str, Any]:
        now = self._clock.now()
        return {
            "event_id": new_id(now),
            "tenant": self._tenant,
            "namespace": namespace,
            "memory_id": memory_id,
            "occurred_at": now,
            "actor": self._actor,
        }


class EventPublisher:
    """Sends valid records of any tenant to their topics. Thread-safe.

    Args:
        settings: Brokers, topics and registry.
        metrics: Counts what is published.
        keys: Encrypt what is about a subject; without them everything is published in plain text.
    """

    def __init__(
        self,
        settings: PublishingSettings,
        metrics: "ProducerMetrics | None" = None,
        keys: Keys | None = None,
    ) -> None:
        self._topics = settings.topics
        self._looked = False
        self._registry = open_registry(settings.registry)
        self._serializer = EventSerializer(self._registry, settings.limits)
        self._settings = settings
        self._clock = SystemClock()
        # Held while records are queued: those of one caller must not pass each other on two clients.
        self._queueing = threading.RLock()
        self._leaving: list[threading.Event] = []
        self._producer = self._open()
        self._sealer = None if keys is None else EventSealer(keys, self._log_keys)
        self._metrics = metrics
        if metrics is not None:
            metrics.reads_queue(lambda: len(self._producer))
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="soma-producer", daemon=True)
        self._poller.start()

    def _open(self) -> Producer:
        settings = self._settings
        self._credentials = fingerprint(settings.kafka)
        self._opened = self._clock.monotonic()
        self._ended = False
        return Producer(
            settings.kafka.librdkafka(silent=True)
            | {
                "client.id": "soma-producer",
                "enable.idempotence": True,
                "acks": "all",
                # The Java client's choice of partition, so that producers in every language agree.
                "partitioner": "murmur2_random",
                "compression.type": "zstd",
                "linger.ms": settings.producer.linger.total_seconds() * 1000,
                "delivery.timeout.ms": int(settings.producer.delivery_timeout.total_seconds() * 1000),
                "message.max.bytes": int(MEMORY_EVENTS.config(settings.topics)["max.message.bytes"]),
                "error_cb": _tell_of_brokers,
            }
        )

    def serialize_natively(self, stamps: Stamps, memory: NewMemory) -> SerializedEvent | None:
        """Return a new memory as `publish` takes it, or None: the model has to look at it.

        Raises:
            RegistryError: The schema is not registered, or the registry cannot be reached.
            ProducerError: The producer is closed.
        """
        self._require_open()
        topics = self._in_force()
        return self._serializer.serialize_natively(stamps, memory, MEMORY_EVENTS.full_name(topics))

    def publish(self, events: Iterable[MemoryEvent | SerializedEvent]) -> "Future[list[Receipt]]":
        """Send events to `memory.events`, as `send` does; the future has their receipts.

        Raises:
            RegistryError: A schema is not registered, or the registry cannot be reached.
            ProducerError: The producer is closed.
        """
        sent: list[tuple[UUID, UUID]] = []

        def noted() -> Iterator[MemoryEvent | SerializedEvent]:
            for event in events:
                sent.append((event.event_id, event.memory_id))
                yield event

        positions = self.send(noted(), MEMORY_EVENTS)
        receipts: Future[list[Receipt]] = _running()
        positions.add_done_callback(partial(_tell_receipts, receipts, sent))
        return receipts

    def send(self, records: Iterable[Sendable], topic: Topic) -> "Future[list[Position]]":
        """Queue records of a topic, in their order; the future ends when all replicas have them all.

        A full queue blocks. The future fails with a `ProducerError` that names the records which the log did
        not acknowledge. An error that `records` raises is passed on; what it gave before is sent.

        Raises:
            RegistryError: A schema is not registered, or the registry cannot be reached.
            EncryptionError: Records have to be encrypted and cannot be; those of before are sent.
            ProducerError: The producer is closed.
        """
        self._require_open()
        topics = self._in_force()
        to = topic.full_name(topics)
        answers = _Answers(topic, topics, self._metrics, self._look_again)
        group: list[tuple[Sendable, bytes | None]] = []
        sending = tracing.sending(f"send {to}", _attributes(to))
        carrier = sending.carrier
        headers: _Headers | None = list(carrier.items()) if carrier else None
        try:
            try:
                for record in records:
                    value = (
                        self._serializer.serialize(record, to) if isinstance(record, Record) else record.value
                    )
                    group.append((record, value))
                    if len(group) == _GROUP_EVENTS:
                        full, group = group, []
                        self._queue(to, full, answers, headers)
            finally:
                self._queue(to, group, answers, headers)
        except BaseException as error:
            sending.end(type(error).__name__)
            raise
        positions = answers.complete()
        positions.add_done_callback(partial(_end, sending))
        return positions

    def _in_force(self) -> TopicSettings:
        """Return how the topics were laid out at the last look; a log that is over refuses events."""
        if not self._looked:
            self._looked = True
            with suppress(KafkaException):
                self._topics = topics_in_force(
                    self._producer.list_topics(timeout=_LOOK_SECONDS), self._topics
                )
        return self._topics

    def _look_again(self) -> None:
        self._looked = False

    def _require_open(self) -> None:
        if self._closing.is_set():
            raise ProducerClosedError("this producer is closed")

    def _queue(
        self,
        topic: str,
        group: Sequence[tuple[Sendable, bytes | None]],
        answers: "_Answers",
        headers: _Headers | None,
    ) -> None:
        """Queue records one right after the other: what is queued at once shares requests."""
        ready = self._sealed(group, topic)
        if self._metrics is not None:
            self._metrics.sent.inc(len(group))
        with self._queueing:
            for record, value in ready:
                self._produce(topic, record, value, headers, answers.expected(record.event_id))

    def _produce(
        self,
        topic: str,
        record: Sendable,
        value: bytes | None,
        headers: _Headers | None,
        delivered: Callable[[KafkaError | None, Message | None], None],
    ) -> None:
        while True:
            try:
                self._producer.produce(
                    topic, key=record.log_key(), value=value, headers=headers, on_delivery=delivered
                )
            except BufferError:
                self._producer.poll(_POLL_SECONDS)
                continue
            except KafkaException as error:
                delivered(error.args[0], None)
            return

    def _sealed(
        self, group: Sequence[tuple[Sendable, bytes | None]], topic: str
    ) -> Sequence[tuple[Sendable, bytes | None]]:
        if self._sealer is None:
            return group
        sealed = self._sealer.seal(group)
        return [
            (record, self._serializer.serialize(sealed[number], topic) if number in sealed else value)
            for number, (record, value) in enumerate(group)
        ]

    def _log_keys(self, keys: Sequence[DataKeyWrapped]) -> None:
        try:
            self.send(keys, MEMORY_KEYS).result()
        except ProducerError as error:
            raise KeysUnavailableError(
                f"the log has not taken {len(keys):,} new data keys: {error}", remedy=error.remedy
            ) from error

    def flush(self) -> None:
        """Wait until every queued event has its answer: at most the delivery timeout."""
        with suppress(KafkaException):  # of a client that was refused for good
            self._producer.flush()
        for answered in list(self._leaving):
            answered.wait(self._settings.producer.delivery_timeout.total_seconds())

    def close(self) -> None:
        """Flush, then stop. Closing twice is harmless."""
        self._closing.set()
        self.flush()
        if self._poller is not threading.current_thread():
            self._poller.join()
        self._registry.close()

    def _poll(self) -> None:
        looked = self._clock.monotonic()
        while not self._closing.is_set():
            try:
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:
                # The brokers refuse this client for good, for a right that it lacks, say: it says so once.
                self._ended = True
                _LOG.error("producer_refused", extra={"error": error.args[0].name()})  # all of it
            if self._clock.monotonic() - looked >= _CREDENTIALS_SECONDS:
                looked = self._clock.monotonic()
                self._renew_if_needed()

    def _renew_if_needed(self) -> None:
        """Go over to another client where credentials were replaced, or the present one was refused for good.

        A client reads credentials when it is made. What was queued before is answered first: no record passes
        another of its key. Only where that takes too long, because the former credentials are worth nothing
        any more, do both go on side by side.
        """
        rested = self._clock.monotonic() - self._opened >= _REFUSED_SECONDS
        if fingerprint(self._settings.kafka) == self._credentials and not (self._ended and rested):
            return
        with self._queueing:
            former = self._producer
            try:
                self._producer = self._open()
            except KafkaException as error:
                # Half of a rotation: the certificate is new, its key not yet.
                self._credentials = ""
                _LOG.warning("producer_not_renewed", extra={"error": error.args[0].name()})
                return
            with suppress(KafkaException):
                former.flush(_LET_GO_SECONDS)
        answered = threading.Event()
        self._leaving.append(answered)
        # In a thread of its own: to let go of a client while its brokers are away can take for ever.
        threading.Thread(
            target=self._see_off, args=[former, answered], name="soma-producer-former", daemon=True
        ).start()
        _LOG.info("producer_renewed")

    def _see_off(self, former: Producer, answered: threading.Event) -> None:
        """Wait until everything that a client has sent has its answer, then let go of it."""
        with suppress(KafkaException):
            former.flush()
        answered.set()
        self._leaving.remove(answered)
        with suppress(KafkaException):
            former.close()


class _Answers:
    """What the brokers say to each of some records.

    Args:
        topic: Where they were sent.
        topics: How the topics were laid out then.
        metrics: Count them.
        moved: Is called when the topic takes nothing any more.
    """

    def __init__(
        self,
        topic: Topic,
        topics: TopicSettings,
        metrics: "ProducerMetrics | None",
        moved: Callable[[], None],
    ) -> None:
        self._epoch = topic.epoch(topics)
        self._topics = topics
        self._metrics = metrics
        self._moved = moved
        self._closed = False
        self._began = 0.0 if metrics is None else metrics.clock.monotonic()
        self._sent: list[UUID] = []
        self._answers: list[Position | KafkaError | None] = []
        self._positions: Future[list[Position]] = _running()
        self._lock = threading.Lock()
        self._answered = 0
        self._expected: int | None = None  # not known until all is sent

    def expected(self, event_id: UUID) -> Callable[[KafkaError | None, Message | None], None]:
        """Return what takes the answer to the record of this name."""
        number = len(self._sent)
        self._sent.append(event_id)
        self._answers.append(None)
        return partial(self._answer, number)

    def complete(self) -> "Future[list[Position]]":
        """Return where all that was expected lies; no more records come."""
        with self._lock:
            self._expected = len(self._sent)
            whole = self._answered == self._expected
        if whole:
            self._tell()
        return self._positions

    def _answer(self, number: int, error: KafkaError | None, message: Message | None) -> None:
        if error is not None and self._says_moved(error, message):
            self._closed = True
            self._moved()
        self._answers[number] = error or _position(message, self._epoch)
        with self._lock:
            self._answered += 1
            whole = self._answered == self._expected
        if whole:
            self._tell()

    def _says_moved(self, error: KafkaError, message: Message | None) -> bool:
        return error.code() in _GONE or (message is not None and says_closed(error, message, self._topics))

    def _tell(self) -> None:
        positions: list[Position] = []
        failed: list[UUID] = []
        first: KafkaError | None = None
        if self._metrics is not None and self._answers:
            self._metrics.answered(self._answers, self._began)
        for event_id, answer in zip(self._sent, self._answers, strict=True):
            if isinstance(answer, Position):
                positions.append(answer)
            else:
                failed.append(event_id)
                first = first or answer
        if first is None:
            self._positions.set_result(positions)
        else:
            self._positions.set_exception(_delivery_error(first, failed, closed=self._closed))


def _running() -> "Future[Any]":
    """Return a future that a waiter who gives up cannot cancel: the records are under way all the same."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def _tell_receipts(
    receipts: "Future[list[Receipt]]", sent: Sequence[tuple[UUID, UUID]], done: "Future[list[Position]]"
) -> None:
    error = done.exception()
    if error is None:
        receipts.set_result(
            [Receipt(*names, position) for names, position in zip(sent, done.result(), strict=True)]
        )
    else:
        receipts.set_exception(error)


def _attributes(topic: str) -> dict[str, str]:
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }


def _end(sending: tracing.Sending, done: "Future[list[Position]]") -> None:
    error = done.exception()
    if error is None:
        sending.set({"messaging.batch.message_count": len(done.result())})
    sending.end(None if error is None else type(error).__name__)


def _position(message: Message | None, epoch: int) -> Position | KafkaError:
    partition, offset = (None, None) if message is None else (message.partition(), message.offset())
    if partition is None or offset is None:
        return KafkaError(KafkaError._FAIL, "the broker acknowledged without a position")  # noqa: SLF001  # public
    return Position(partition, offset, epoch)


def _listed(items: object) -> object:
    """Return a sequence of any kind as a list; what is none stays as it is, for validation to refuse."""
    if items is None or isinstance(items, list | str | bytes | Mapping) or not isinstance(items, Iterable):
        return items
    return list(items)


def _payload_text(payload: Mapping[str, Any]) -> str:
    """Return a payload as JSON.

    Raises:
        ContractError: It holds what JSON or the stores do not have.
    """
    try:
        return written_json(dict(payload) if isinstance(payload, Mapping) else payload)
    except PydanticCustomError as error:
        raise ContractError([violation_of(error, "/payload")]) from None


def _tell_of_brokers(error: KafkaError) -> None:
    # The client tells of every try to connect; of these only what says that no broker is left.
    if error.code() in _NO_BROKERS:
        _LOG.warning("producer_without_brokers", extra={"error": error.name()})


def _delivery_error(error: KafkaError, failed: Sequence[UUID], *, closed: bool) -> ProducerError:
    """Return what the first failure of these events is for whoever sent them."""
    events = f"event {failed[0]}" + (f" and {len(failed) - 1:,} more" if len(failed) > 1 else "")
    match error.code():
        case KafkaError.MSG_SIZE_TOO_LARGE if closed:
            return LogClosedError(
                f"the log takes no events at the moment, and did not take {events}", failed=failed
            )
        case code if code in TIMEOUTS:
            return DeliveryTimeoutError(f"no broker acknowledged {events} in time", failed=failed)
        case KafkaError.TOPIC_AUTHORIZATION_FAILED | KafkaError.CLUSTER_AUTHORIZATION_FAILED:
            return DeliveryRefusedError(
                f"this client may not write {events} to the topic",
                remedy="Grant it WRITE and IDEMPOTENT_WRITE.",
                failed=failed,
            )
        case _:
            return DeliveryRefusedError(f"the brokers did not take {events}: {error.str()}", failed=failed)
