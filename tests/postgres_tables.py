"""What the tests of the tables and the Postgres sink share: events, a delivery, and a back door to the rows.

The back door reads the tables with queries of its own, so that a writer and a reader with one mistake in
common cannot agree with each other.
"""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from builders import A_MOMENT, an_id
from soma_schemas.events import MemoryAccessed, MemoryEvent, MemoryExpired, MemoryUnlinked
from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_schemas.versions import unpack_version
from soma_streams.delivery.fold import fold
from soma_streams.delivery.state import (
    DeadLettered,
    EdgeName,
    LinkState,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Settlement,
    Watermark,
)
from soma_streams.sinks.postgres import PostgresSink

A_GROUP = "test-postgres"
A_TOPIC = "memory.events"


def unlinked(memory: MemoryEvent, to: UUID, link_type: str = "about") -> MemoryUnlinked:
    """A MemoryUnlinked event from a memory."""
    return MemoryUnlinked.validated(_common(memory) | {"to_memory_id": to, "link_type": link_type})


def accessed(memory: MemoryEvent, count: int = 1, at: datetime = A_MOMENT) -> MemoryAccessed:
    """A MemoryAccessed event of a memory."""
    return MemoryAccessed.validated(_common(memory) | {"count": count, "last_accessed_at": at})


def expired(memory: MemoryEvent, expires_at: datetime | None, **said: object) -> MemoryExpired:
    """A MemoryExpired event of a memory."""
    return MemoryExpired.validated(_common(memory) | {"expires_at": expires_at} | said)


def _common(memory: MemoryEvent) -> dict[str, Any]:
    return {
        "event_id": an_id(),
        "tenant": memory.tenant,
        "namespace": memory.namespace,
        "memory_id": memory.memory_id,
        "occurred_at": A_MOMENT,
        "actor": "tester",
    }


def a_dead_letter(logged: LoggedEvent, code: str = "avro") -> DeadLettered:
    """The event as a dead letter: what its key and its place tell."""
    return DeadLettered(
        logged.position,
        logged.version,
        logged.logged_at,
        logged.event.tenant,
        logged.event.memory_id,
        code,
    )


def a_watermark(next_offset: int, *, partition: int = 0, epoch: int = 1, group: str = A_GROUP) -> Watermark:
    """A watermark of the sink under test."""
    return Watermark(group, A_TOPIC, partition, epoch, next_offset)


async def deliver(
    sink: PostgresSink, batch: Sequence[LoggedEvent], dead: Sequence[DeadLettered] = ()
) -> Sequence[Settlement]:
    """Have the sink apply a batch, as the settler does; a batch of nothing is none."""
    if not batch and not dead:
        return ()
    last = max([each.position for each in batch] + [each.position for each in dead])
    version = max([each.version for each in batch] + [each.version for each in dead])
    watermark = a_watermark(last.offset + 1, partition=last.partition, epoch=unpack_version(version)[0])
    return await sink.write(batch, dead, watermark)


def rows(dsn: str, query: str, **values: object) -> list[dict[str, Any]]:
    """What a query returns, with each row as a dict."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        return connection.execute(query.encode(), values).fetchall()


def tables(dsn: str) -> dict[str, list[dict[str, Any]]]:
    """All that the sink writes, for comparing before with after."""
    return {
        table: rows(dsn, f"SELECT * FROM {table} ORDER BY {table}::text")  # noqa: S608  # our own names
        for table in ("memories", "memory_history", "memory_links", "sink_watermarks")
    }


def memories(dsn: str, tenant: str = "acme") -> dict[MemoryName, MemoryState]:
    """The memories of a tenant, tombstones included."""
    found = rows(
        dsn, "SELECT *, payload::text AS json FROM memories WHERE tenant = %(tenant)s", tenant=tenant
    )
    return {state.name: state for state in map(_state, found)}


def _state(row: Mapping[str, Any]) -> MemoryState:
    content = None
    if not row["deleted"]:
        content = Content(
            namespace=row["namespace"],
            key=row["key"],
            coordinate=_tuple(row["coordinate"]),
            kind=Kind(row["kind"]),
            text=row["text"],
            payload=row["json"],
            tags=tuple(row["tags"]),
            importance=row["importance"],
            embedding=_tuple(row["embedding"]),
            embedding_model=row["embedding_model"],
            subject=row["subject"],
            source=row["source"],
            expires_at=row["expires_at"],
            occurred_at=row["occurred_at"],
            actor=row["actor"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            access_count=row["access_count"],
            last_accessed_at=row["last_accessed_at"],
        )
    name = MemoryName(row["tenant"], row["memory_id"])
    return as_stored(MemoryState(name, row["version"], content, tuple(row["recent_event_ids"])))


def as_stored(state: MemoryState) -> MemoryState:
    """The state as a table can have it: JSON without its spelling, embeddings in single precision."""
    if state.content is None:
        return state
    embedding = state.content.embedding
    content = replace(
        state.content,
        payload=_without_spelling(state.content.payload),
        embedding=None if embedding is None else tuple(map(_single_precision, embedding)),
    )
    return replace(state, content=content)


def _without_spelling(payload: str) -> str:
    """JSON with its names in order and its numbers as what they are worth: 1e2, 100 and 100.0 are one."""

    def worth(number: str) -> str:
        return f"number {Fraction(Decimal(number))}"

    return json.dumps(json.loads(payload, parse_float=worth, parse_int=worth), sort_keys=True)


def _single_precision(number: float) -> float:
    (rounded,) = struct.unpack("f", struct.pack("f", number))
    return float(rounded)


def _tuple(numbers: list[float] | None) -> tuple[float, ...] | None:
    return None if numbers is None else tuple(numbers)


Edge = tuple[UUID, str, UUID]
Place = tuple[int, int]


@dataclass
class Ledger:
    """The model: what the tables hold after events were applied one by one, in memory."""

    states: dict[MemoryName, MemoryState] = field(default_factory=dict)
    links: dict[EdgeName, LinkState] = field(default_factory=dict)
    deletions: dict[UUID, int] = field(default_factory=dict)
    history: dict[Place, tuple[Outcome, SupersededReason | None]] = field(default_factory=dict)

    def apply(self, events: Iterable[LoggedEvent]) -> None:
        """Apply events in the order in which they arrive."""
        for each in events:
            self._apply(each)

    def living_links(self) -> dict[Edge, float]:
        """The edges that a reader sees."""
        return {
            edge[1:]: link.weight
            for edge, link in self.links.items()
            if link.weight is not None and link.version >= self.deletions.get(edge.from_memory_id, 0)
        }

    def _apply(self, logged: LoggedEvent) -> None:
        folded = fold([logged], self.states, current_links=self.links)
        (settlement,) = folded.settlements
        outcome, reason = settlement.outcome, settlement.reason
        self.links |= {link.name: link for link in folded.links}
        for state in folded.states:
            self.states[state.name] = state
            if settlement.ends_links:
                self.deletions[state.name.memory_id] = state.version
        place = (logged.origin.partition, logged.version)
        if place not in self.history or self.history[place][0] is Outcome.DEAD_LETTERED:
            self.history[place] = (outcome, reason)


def living_links(dsn: str, tenant: str = "acme") -> dict[Edge, float]:
    """The edges that a reader sees."""
    query = "SELECT * FROM memory_links WHERE tenant = %(tenant)s AND NOT deleted"
    return {
        (row["from_memory_id"], row["link_type"], row["to_memory_id"]): row["weight"]
        for row in rows(dsn, query, tenant=tenant)
    }


def history(dsn: str, tenant: str = "acme") -> dict[Place, tuple[Outcome, SupersededReason | None]]:
    """What became of the events of a tenant."""
    query = "SELECT partition, version, outcome, reason FROM memory_history WHERE tenant = %(tenant)s"
    return {
        (row["partition"], row["version"]): (
            Outcome(row["outcome"]),
            SupersededReason(row["reason"]) if row["reason"] is not None else None,
        )
        for row in rows(dsn, query, tenant=tenant)
    }


def counts_that_differ(dsn: str) -> list[dict[str, Any]]:
    """Where the counts that are kept are not those of the rows; `number` is how many too many."""
    return rows(
        dsn,
        """
        SELECT tenant, counted, namespace, kind, sum(number)::bigint AS number
        FROM (
            SELECT tenant, 'memories' AS counted, namespace, kind, number FROM namespace_counts
            UNION ALL SELECT tenant, counted, NULL, NULL, number FROM tenant_counts
            UNION ALL SELECT tenant, 'memories', namespace, kind, -1 FROM memories WHERE NOT deleted
            UNION ALL SELECT tenant, 'links', NULL, NULL, -1 FROM memory_links WHERE NOT deleted
            UNION ALL SELECT tenant, 'dead_letters', NULL, NULL, -1 FROM dead_letters
                WHERE status = 'open' AND tenant IS NOT NULL
        ) AS counts
        GROUP BY tenant, counted, namespace, kind
        HAVING sum(number) <> 0
        ORDER BY tenant, counted, namespace, kind
        """,
    )
