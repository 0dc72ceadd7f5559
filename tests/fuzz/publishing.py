"""Publishes fuzzed records: by librdkafka in every compression and in transactions, or byte by byte."""

import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial

from aiokafka.partitioner import murmur2  # type: ignore[import-untyped]  # it has no types
from aiokafka.record.util import calc_crc32c  # type: ignore[import-untyped]  # it has no types
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from fuzz.mutation import COMPRESSIONS, Fuzzed

_LARGEST = 16 * 2**20
_IN_ONE_TRANSACTION = 25
_SECONDS = 120.0
_PRODUCE = 0
_CRC_AT = 17
_CRC_OF = 21

Place = tuple[int, int]


class Published:
    """What became of the records on their way to the log.

    Attributes:
        mutations: What was done to the record that lies in a place.
        aborted: Records of transactions that were aborted.
        refused: Records that the brokers refused, by reason.
    """

    def __init__(self) -> None:
        self.mutations: dict[Place, str] = {}
        self.aborted = 0
        self.refused: dict[str, int] = {}

    def refuse(self, reason: str) -> None:
        """Count a record that is not in the log."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


class FuzzPublisher:
    """Writes to a topic; a record goes to the partition that its key decides, as producers do it.

    Args:
        bootstrap: Of one broker.
        topic: With so many partitions.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.published = Published()
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = partitions
        settings = {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "message.max.bytes": _LARGEST,
            "linger.ms": 5,
        }
        self._producers = {each: Producer({**settings, "compression.type": each}) for each in COMPRESSIONS}
        # Compressed, so that none is too large: a refusal would end the whole transaction.
        self._transactional = Producer(
            {**settings, "compression.type": "zstd", "transactional.id": f"{topic}-fuzz"}
        )
        self._transactional.init_transactions(_SECONDS)

    def publish(self, records: Iterable[Fuzzed]) -> None:
        """Write records, and return when the brokers have acknowledged or refused each."""
        together: dict[bool, list[Fuzzed]] = {True: [], False: []}
        for record in records:
            if record.transaction is not None:
                together[record.transaction].append(record)
                if len(together[record.transaction]) == _IN_ONE_TRANSACTION:
                    self._transact(together[record.transaction], commit=record.transaction)
                    together[record.transaction] = []
            elif record.has_odd_header_name:
                self._write(record)
            else:
                self._produce(self._producers[record.compression], record)
        for commit, rest in together.items():
            self._transact(rest, commit=commit)
        for producer in self._producers.values():
            assert producer.flush(_SECONDS) == 0, "the brokers do not answer"

    def end_with_an_abort(self, record: Fuzzed) -> None:
        """Leave an aborted transaction at the end of every partition."""
        self._transactional.begin_transaction()
        for partition in range(self._partitions):
            self._transactional.produce(self._topic, key=record.key, value=record.value, partition=partition)
        self._transactional.flush(_SECONDS)
        self._transactional.abort_transaction(_SECONDS)

    def _transact(self, records: Sequence[Fuzzed], *, commit: bool) -> None:
        if not records:
            return
        self._transactional.begin_transaction()
        for record in records:
            self._produce(self._transactional, record, visible=commit)
        self._transactional.flush(_SECONDS)
        if commit:
            self._transactional.commit_transaction(_SECONDS)
        else:
            self._transactional.abort_transaction(_SECONDS)
            self.published.aborted += len(records)

    def _produce(self, producer: Producer, record: Fuzzed, *, visible: bool = True) -> None:
        headers: list[tuple[str, str | bytes | None]] = [
            (name.decode(), value) for name, value in record.headers
        ]
        while True:
            try:
                producer.produce(
                    self._topic,
                    key=record.key,
                    value=record.value,
                    headers=headers,
                    on_delivery=partial(self._told, record.mutation, visible),
                )
            except BufferError:
                producer.poll(0.1)
            except KafkaException as error:
                self.published.refuse(str(error.args[0].name()))
                return
            else:
                producer.poll(0)
                return

    def _told(self, mutation: str, visible: bool, error: KafkaError | None, message: Message) -> None:  # noqa: FBT001  # bound by partial
        partition, offset = message.partition(), message.offset()
        if error is not None:
            self.published.refuse(str(error.name()))
        elif visible and partition is not None and offset is not None:
            self.published.mutations[partition, offset] = mutation

    def _write(self, record: Fuzzed) -> None:
        """Write one record as bytes of our own: no client writes what it holds."""
        # Where all others of its key are: only there have they an order.
        partition = (murmur2(record.key or b"") & 0x7FFFFFFF) % self._partitions
        offset = write_batch(self._bootstrap, self._topic, partition, batch_of(record))
        self.published.mutations[partition, offset] = record.mutation


def batch_of(record: Fuzzed) -> bytes:
    """Return a record batch (format 2) of one record."""
    body = b"\0" + _varint(0) + _varint(0) + _sized(record.key) + _sized(record.value)
    body += _varint(len(record.headers))
    for name, value in record.headers:
        body += _sized(name) + _sized(value)
    records = struct.pack(">i", 1) + _varint(len(body)) + body
    # Attributes, last offset delta, first and last time, producer id, epoch and sequence.
    checked = struct.pack(">hiqqqhi", 0, 0, 0, 0, -1, -1, -1) + records
    head = struct.pack(">ibI", -1, 2, calc_crc32c(checked))
    return struct.pack(">qi", 0, len(head) + len(checked)) + head + checked


def write_batch(bootstrap: str, topic: str, partition: int, batch: bytes) -> int:
    """Send a Produce request (version 7) for one batch and return the offset that it got."""
    name = topic.encode()
    client = b"fuzz"
    request = struct.pack(f">hhih{len(client)}s", _PRODUCE, 7, 1, len(client), client)
    request += struct.pack(f">hhiih{len(name)}s", -1, -1, 30_000, 1, len(name), name)
    request += struct.pack(">iii", 1, partition, len(batch)) + batch
    host, _, port = bootstrap.rpartition(":")
    with closing(socket.create_connection((host, int(port)), _SECONDS)) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb").read(4 + 4 + 4 + 2 + len(name) + 4 + 4 + 2 + 8)
    _, error, offset = struct.unpack(">ihq", answer[-14:])
    assert error == 0, f"the broker refuses the batch with {error}"
    return int(offset)


def _sized(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _varint(number: int) -> bytes:
    number = number << 1 if number >= 0 else (-number << 1) - 1
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
