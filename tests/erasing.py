"""A place in which erasures happen: the real tables and sinks, and a log of one partition in a list.

Each event is applied to both stores when it is published, unless the log is told to hold back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from builders import A_MOMENT, an_id, encoded, logged
from fakes import FakeClock
from postgres_tables import rows
from soma_schemas.erasure_receipts import ReceiptSigner, new_signing_key
from soma_schemas.events import (
    ErasureEvent,
    ErasureRequested,
    ErasureScope,
    MemoryEvent,
)
from soma_schemas.groups import SinkGroup
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import Sendable
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_ERASURES, MEMORY_EVENTS, MEMORY_KEYS, Topic
from soma_schemas.vectors.payload import tombstone_payload
from soma_schemas.versions import Position, pack_version
from soma_streams.data_key_relay import DataKeyRelay
from soma_streams.delivery.compacted import Statement
from soma_streams.delivery.state import MemoryName, Watermark
from soma_streams.erasure.eraser import Eraser
from soma_streams.erasure.erasure_metrics import ErasureMetrics
from soma_streams.erasure.erasure_sink import ErasureSink
from soma_streams.erasure.erasure_state import Erasure
from soma_streams.erasure.erasure_store import ErasureStore
from soma_streams.erasure.index_witness import IndexWitness
from soma_streams.erasure.receipts import Copy
from soma_streams.replay.originals import Gone
from soma_streams.replay.stored_dead_letters import StoredDeadLetter
from soma_streams.sinks.postgres import PostgresSink
from soma_streams.sinks.sessions import Pool
from soma_streams.sinks.vectors.states import id_of
from soma_streams.transport.records import Record as Raw
from soma_streams.transport.records import TimestampType

TOPICS = TopicSettings(partitions=1)


class Points:
    """The vector index, as far as somebody looks into it: what each memory's point says."""

    def __init__(self) -> None:
        self.held: dict[UUID, Mapping[str, Any]] = {}

    async def read(self, ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        return {each: self.held[each] for each in ids if each in self.held}


class Place:
    """Tables, log, index, and whoever works on them.

    Attributes:
        offset: The next one of the log.
        holds_back: Whether the sinks stand still.
        letters: What lies in the dead-letter topic, by the letter's id.
        kept_indexes: Other indexes beside the one in use.
        published: Everything that went to the log.
    """

    def __init__(self, pool: Pool, owner_dsn: str, reader_dsn: str) -> None:
        self.owner_dsn = owner_dsn
        self.reader_dsn = reader_dsn
        self.pool = pool
        self.store = ErasureStore(pool)
        self.points = Points()
        self.kept_indexes: list[str] = []
        self.clock = FakeClock()
        self.offset = 0
        self.erasures_offset = 0
        self.holds_back = False
        self.held_back: list[tuple[int, MemoryEvent]] = []
        self.letters: dict[UUID, bytes] = {}
        self.published: list[Sendable] = []
        self.before_publishing: list[MemoryEvent] = []
        private, self.public_key = new_signing_key()
        self.signer: ReceiptSigner | None = _signer(private)
        self.sink = PostgresSink(pool, SinkGroup.POSTGRES)
        self.erasures = ErasureSink(pool, SinkGroup.ERASURES, self._ends, TOPICS.epoch)

    @property
    def relay(self) -> DataKeyRelay:
        """What brings data keys to the log."""
        return DataKeyRelay(self.pool, self.publish, None, self.clock)

    def eraser(self) -> Eraser:
        """A new one, as after a start."""
        return Eraser(
            store=self.store,
            publish=self.publish,
            signer=self.signer,
            letters=self,
            copies=self._copies,
            log_ends=self._ends,
            topics=TOPICS,
            clock=self.clock,
            metrics=ErasureMetrics(MetricSet()),
        )

    @property
    def witness(self) -> IndexWitness:
        store = ErasureStore(self.pool)
        return IndexWitness(store, self.points, self.clock, self._beside)  # type: ignore[arg-type]  # it only reads

    async def _beside(self) -> list[str]:
        return self.kept_indexes

    async def tell(self, *events: MemoryEvent) -> None:
        """Have events in the log, and in both stores unless it holds back."""
        for event in events:
            self.held_back.append((self.offset, event))
            self.offset += 1
        if not self.holds_back:
            await self.catch_up()

    async def catch_up(self) -> None:
        """Have both sinks apply what they held back."""
        waiting, self.held_back = self.held_back, []
        for offset, event in waiting:
            mark = Watermark(SinkGroup.POSTGRES, "memory.events", 0, 1, offset + 1)
            await self.sink.write([logged(event, offset)], [], mark)
            self._index(event)
            self._owner(
                "INSERT INTO sink_watermarks VALUES ('soma-vectors', 'memory.events', 0, 1, %(next)s, now())"
                " ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET next_offset = %(next)s",
                next=offset + 1,
            )

    def _index(self, event: MemoryEvent) -> None:
        """Give the index the state that the table has, so that only what a test changes differs."""
        name = MemoryName(event.tenant, event.memory_id)
        found = rows(
            self.owner_dsn,
            "SELECT * FROM memories WHERE tenant = %(tenant)s AND memory_id = %(memory_id)s",
            tenant=event.tenant,
            memory_id=event.memory_id,
        )
        if found:
            self.points.held[id_of(name)] = (
                tombstone_payload(
                    tenant=name.tenant,
                    memory_id=name.memory_id,
                    version=found[0]["version"],
                    recent_event_ids=[],
                    deleted_at=A_MOMENT,
                )
                if found[0]["deleted"]
                else {**_LIVING, "tenant": name.tenant, "version": found[0]["version"]}
            )

    async def request(
        self,
        scope: ErasureScope,
        selector: str | None,
        *,
        tenant: str = "acme",
        request_id: UUID | None = None,
    ) -> UUID:
        """Have an erasure asked for and accepted."""
        request_id = request_id or an_id()
        await self.publish(
            [
                ErasureRequested.validated(
                    {
                        "event_id": request_id,
                        "tenant": tenant,
                        "occurred_at": A_MOMENT,
                        "actor": "officer",
                        "request_id": request_id,
                        "scope": scope,
                        "selector": selector,
                    }
                )
            ],
            MEMORY_ERASURES,
        )
        return request_id

    async def publish(self, records: Sequence[Sendable], topic: Topic) -> list[Position]:
        """Write to the log."""
        self.published += records
        if topic is MEMORY_KEYS:
            return [Position(0, number) for number, _ in enumerate(records)]
        if topic is MEMORY_EVENTS:
            racing, self.before_publishing = self.before_publishing, []
            await self.tell(*racing)
            first = self.offset
            await self.tell(*(each for each in records if isinstance(each, MemoryEvent)))
            return [Position(0, first + number) for number in range(len(records))]
        for record in records:
            assert isinstance(record, ErasureEvent)
            await self.say(record)
        return [Position(0, self.erasures_offset)]

    async def say(self, record: ErasureEvent) -> None:
        """Have the sink of memory.erasures apply a record."""
        said = Statement(record.tenant, str(record.request_id), record, pack_version(1, self.erasures_offset))
        self.erasures_offset += 1
        await self.erasures.write(
            [said], Watermark(SinkGroup.ERASURES, "memory.erasures", 0, 1, self.erasures_offset)
        )

    async def erase(self) -> None:
        """Carry out what is asked, to the end."""
        for _ in range(12):
            await self.eraser().round()
            await self.relay.round()
            await self.witness.round()

    async def erasure(self, request_id: UUID) -> Erasure | None:
        return next((each for each in await self.store.open() if each.request_id == request_id), None)

    def row(self, request_id: UUID) -> dict[str, Any]:
        (found,) = rows(
            self.owner_dsn, "SELECT * FROM erasures WHERE request_id = %(request_id)s", request_id=request_id
        )
        return found

    def dead_letter(self, event: MemoryEvent, *, stage: str = "write", offset: int | None = None) -> UUID:
        """Have an event among the dead letters."""
        letter = an_id()
        self.letters[letter] = encoded(event)
        self._owner(
            "INSERT INTO dead_letters (id, tenant, memory_id, consumer_group, topic, partition, log_offset,"
            " epoch, logged_at, dlq_partition, dlq_offset, stage, error_class, code, message, attempts,"
            " first_failed_at)"
            " VALUES (%(id)s, %(tenant)s, %(memory_id)s, 'soma-postgres', 'memory.events', 0, %(offset)s, 1,"
            " now(), 0, 0, %(stage)s, 'DataError', 'sqlstate_22003', 'refused', 1, now())",
            id=letter,
            tenant=event.tenant,
            memory_id=event.memory_id,
            stage=stage,
            offset=offset,
        )
        return letter

    async def read(self, dead_letters: Iterable[StoredDeadLetter]) -> Mapping[UUID, Raw | Gone]:
        return {
            each.id: Raw(0, 0, TimestampType.LOG_APPEND_TIME, b"", self.letters[each.id])
            for each in dead_letters
        }

    async def ends(self) -> Mapping[int, int]:
        return {0: 0}

    async def _ends(self) -> Mapping[int, int]:
        return {0: self.offset}

    async def _copies(self) -> Sequence[Copy]:
        return [Copy("memory.events", timedelta(days=37)), Copy("memory.events.dlq", timedelta(days=97))]

    def _owner(self, statement: str, **values: object) -> None:
        with psycopg.connect(self.owner_dsn) as connection:
            connection.execute(statement.encode(), values)


_LIVING: dict[str, Any] = {
    "labels": "x",
    "document": f'{{"memory_id":"{UUID(int=0)}","recent_event_ids":[],"content":null}}',
}


def _signer(private: str) -> ReceiptSigner:
    import tempfile  # noqa: PLC0415

    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(private)
        file.flush()
        return ReceiptSigner.of_file(Path(file.name))
