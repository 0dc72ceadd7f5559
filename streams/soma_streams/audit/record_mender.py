"""Applies the log's events again to memories whose rows or history were lost.

Where the log has everything, they are folded from nothing. Where it lost its beginning, they are folded onto
what is left: the row, or the point in the index, which holds the whole state, if the history says that it was
applied. A memory of which neither is left stays as it is: nothing is invented.
"""

from collections.abc import Collection

import structlog

from soma_schemas.vectors.payload import DELETED_AT, VERSION
from soma_streams.audit.audited_tables import AuditedTables
from soma_streams.audit.fingerprints import canonical
from soma_streams.audit.retained_log import RetainedLog, name_of
from soma_streams.delivery.decode import Decoded, Decoder, Item, WriterSchemas, schema_ids
from soma_streams.delivery.sealed_events import SealedEvents, has_sealed
from soma_streams.delivery.state import EdgeName, LinkState, MemoryName, MemoryState, Unapplied
from soma_streams.errors import PoisonError
from soma_streams.log_state import LogState
from soma_streams.sinks.postgres.postgres_sink import PostgresSink
from soma_streams.sinks.vectors.states import id_of, state_of
from soma_streams.sinks.vectors.writer import PointWriter
from soma_streams.transport.records import RecordBatch

_FIRST_EPOCH = 1

log = structlog.get_logger(__name__)


class RecordMender:
    """Mends rows and history.

    Args:
        retained: What the log still has.
        schemas: What its records were written with.
        decoder: Reads them.
        sealed: Opens what is encrypted.
        sink: Writes rows and history.
        tables: The rows that are left.
        writer: The index.
        topic: The log's name on the brokers.
    """

    def __init__(
        self,
        *,
        retained: RetainedLog,
        schemas: WriterSchemas,
        decoder: Decoder,
        sealed: SealedEvents,
        sink: PostgresSink,
        tables: AuditedTables,
        writer: PointWriter,
        topic: str,
    ) -> None:
        self._retained = retained
        self._schemas = schemas
        self._decoder = decoder
        self._sealed = sealed
        self._sink = sink
        self._tables = tables
        self._writer = writer
        self._topic = topic

    async def mend(self, state: LogState, partition: int, end: int, names: Collection[MemoryName]) -> None:
        """Apply again what the log has of some memories of a partition.

        Args:
            state: Where the log begins.
            partition: Of these memories.
            end: Below this offset everything was applied.
            names: The memories.

        Raises:
            Exception: The brokers, the registry or PostgreSQL do not answer, or refuse.
        """
        begins = state.starts[partition]
        whole = begins == 0 and state.identity.epoch == _FIRST_EPOCH
        states = {} if whole else await self._left_of(names)
        left = set(names) if whole else set(states)
        base = {name: each.version for name, each in states.items()}
        links: dict[EdgeName, LinkState] = {}
        async for page in self._retained.pages(partition, begins, end):
            records = [record for record in page if name_of(record) in left]
            while records:
                batch = RecordBatch.of((self._topic, partition), records)
                decoded = await self._decoded(batch)
                events = [each for each in decoded.events if each.version > base.get(each.name, -1)]
                unapplied: list[Unapplied] = [
                    *map(self._decoder.dead_lettered, decoded.poison),
                    *decoded.erased,
                ]
                try:
                    folded = await self._sink.mend(events, unapplied, states, links)
                except PoisonError as error:
                    if not isinstance(error.memory, MemoryName):
                        raise
                    log.warning("memory_not_mended", reason=error.code)
                    left.discard(error.memory)
                    records = [record for record in records if name_of(record) in left]
                else:
                    states |= {each.name: each for each in folded.states}
                    links |= {each.name: each for each in folded.links}
                    break

    async def _decoded(self, batch: RecordBatch) -> Decoded[Item]:
        schemas = await self._schemas.fetch(schema_ids(batch.records))
        if not has_sealed(schemas):
            return await self._decoder.decode_in_turns(batch, schemas)
        opened = await self._sealed.open(batch, schemas)
        schemas = await self._schemas.fetch(schema_ids(opened.batch.records))
        return opened.whole(await self._decoder.decode_in_turns(opened.batch, schemas))

    async def _left_of(self, names: Collection[MemoryName]) -> dict[MemoryName, MemoryState]:
        """Return the states that are left of memories, and put those back that only the index has."""
        states = {name: row.state for name, row in (await self._tables.named(names)).items()}
        missing = [name for name in names if name not in states]
        applied = await self._tables.last_applied(missing)
        points = await self._writer.look([id_of(name) for name in missing])
        found = []
        for name, last in applied.items():
            point = points.get(id_of(name))
            if (
                point is not None
                and DELETED_AT not in point.payload
                and canonical(point.payload) is not None
                and point.payload.get(VERSION) == last.version
            ):
                found.append(state_of(point.payload))
        await self._sink.put_back(found)
        return states | {each.name: each for each in found}
