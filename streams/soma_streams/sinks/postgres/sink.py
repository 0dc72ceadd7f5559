"""Applies batches to the tables, each in one transaction that ends with the watermark."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import psycopg
import structlog

from soma_schemas.events import MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.tables.layout import READ_LAYOUT, require_layout
from soma_streams.delivery.fold import after_guard, fold
from soma_streams.delivery.state import (
    REMEMBERED_EVENTS,
    DeadLettered,
    EdgeName,
    Folded,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Settlement,
    Watermark,
)
from soma_streams.sinks.packing import packed_texts, packed_uuids
from soma_streams.sinks.postgres.row_types import HistoryRow, LinkRow, MemoryRow
from soma_streams.sinks.postgres.rows import (
    changes_of,
    history_months,
    history_rows,
    replayed_versions,
    whole_state,
)
from soma_streams.sinks.sessions import Connection, Pool, RowType, Sessions
from soma_streams.sinks.statements import statement
from soma_streams.sinks.watermarks import advance

# What `soma_require_written` raises.
_NOT_ALL_WRITTEN = "SM001"


class PostgresSink:
    """The records, their history and their links.

    Args:
        pool: Connections of a login with role soma_sinks, straight to the server, as `Sessions` wants them.
        group: The consumer group whose watermark moves with the rows.
        limits: How large a memory may become.
    """

    def __init__(self, pool: Pool, group: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self._sessions = Sessions(
            pool,
            RowType("memory_row", MemoryRow),
            RowType("link_row", LinkRow),
            RowType("history_row", HistoryRow),
        )
        self._group = group
        self._limits = limits
        self._log = structlog.get_logger("soma_streams.sinks.postgres").bind(group=group)

    @property
    def group(self) -> str:
        """Return the consumer group."""
        return self._group

    async def check(self) -> None:
        """Return when the tables are as the migrations made them.

        Raises:
            MismatchError: They are not: whoever changed them made them refuse rows, or take fewer.
            psycopg.Error: As the server or the connection tells it.
        """
        async with self._sessions.borrow() as connection:
            lines = await connection.execute(READ_LAYOUT, prepare=False)
            require_layout([row[0] for row in await lines.fetchall()])

    async def write(
        self, events: Sequence[LoggedEvent], dead: Sequence[DeadLettered], watermark: Watermark
    ) -> Sequence[Settlement]:
        """Apply a batch, record what became of each of its events, and advance the watermark: all or nothing.

        Writing it again changes nothing. An error leaves the tables as they were, and the connection goes
        back to the pool clean or is replaced there.

        A memory that one unconditional event stores is offered without a read. Where the guard refuses a row,
        nothing is written, and every memory of the batch is read.

        Returns:
            What became of the events, in their order.

        Raises:
            PoisonError: A patch would make a memory larger than it may be; nothing was written.
            psycopg.Error: As the server or the connection tells it.
        """
        to_read = _needing_a_read(events)
        while True:
            folded = fold(events, await self._read(to_read), self._limits)
            try:
                return await self._write(folded, dead, watermark)
            except psycopg.Error as error:
                if error.sqlstate != _NOT_ALL_WRITTEN:
                    raise
            if to_read >= (everything := {each.name for each in events}):
                # Each time around, somebody else has written one of these memories meanwhile.
                self._log.warning("batch_overtaken", partition=watermark.partition)
            to_read = everything

    async def _read(self, names: Collection[MemoryName]) -> Mapping[MemoryName, MemoryState]:
        """Return what the tables have of these memories, tombstones included."""
        if not names:
            return {}
        async with self._sessions.borrow() as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(statement("postgres/read_memories"), _keys(names))
            states = map(whole_state, await cursor.fetchall())
            return {state.name: state for state in states}

    async def _write(
        self, folded: Folded, dead: Sequence[DeadLettered], watermark: Watermark
    ) -> Sequence[Settlement]:
        changes = changes_of(folded)
        months = history_months(folded.settlements, dead)
        settlements: Sequence[Settlement] = folded.settlements
        async with self._sessions.transaction() as connection:
            if months:
                # Before any row is locked, so that whoever makes a month waits for nobody.
                await connection.execute(statement("postgres/ensure_months"), {"months": months})
            if changes.memories:
                values = {
                    "rows": self._sessions.parameter(connection, "memory_row", changes.memories),
                    "offered": len(changes.memories),
                    "remembered": REMEMBERED_EVENTS,
                }
                await connection.execute(statement("postgres/write_memories"), values)
            if changes.links:
                refused = await self._merge_links(connection, changes.links)
                settlements = after_guard(settlements, refused)
            if changes.ended:
                await connection.execute(statement("postgres/end_links"), _keys(changes.ended))
            if rows := history_rows(settlements, dead):
                words = self._sessions.parameter(connection, "history_row", rows)
                values = {"rows": words, "replayed": replayed_versions(settlements)}
                await connection.execute(statement("postgres/record_history"), values)
            await advance(connection, [watermark])
        return settlements

    async def _merge_links(self, connection: Connection, links: Sequence[LinkRow]) -> frozenset[EdgeName]:
        """Merge links and return those that the version guard refused."""
        offered = self._sessions.parameter(connection, "link_row", links)
        merged = await connection.execute(statement("postgres/merge_links"), {"rows": offered}, binary=True)
        written = {EdgeName(*edge) for edge in await merged.fetchall()}
        return frozenset(EdgeName(*link[:4]) for link in links) - written


def _needing_a_read(events: Sequence[LoggedEvent]) -> set[MemoryName]:
    """Return the memories that are not simply stored by their only event in the batch."""
    mentions = Counter([each.name for each in events])
    return {each.name for each in events if mentions[each.name] > 1 or not _is_unconditional(each)}


def _is_unconditional(logged: LoggedEvent) -> bool:
    event = logged.event
    return (
        isinstance(event, MemoryStored)
        and event.expected_version is None
        and logged.position == logged.origin
    )


def _keys(names: Iterable[MemoryName]) -> dict[str, object]:
    wanted = list(names)
    return {
        "tenants": packed_texts([name.tenant for name in wanted]),
        "memory_ids": packed_uuids([name.memory_id for name in wanted]),
    }
