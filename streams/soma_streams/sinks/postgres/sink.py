"""Applies folded batches to the tables, each in one transaction that ends with the watermark."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow

from soma_schemas.tables.layout import READ_LAYOUT, require_layout
from soma_streams.delivery.fold import after_guard, needs_whole_state
from soma_streams.delivery.plain import PlainEvents
from soma_streams.delivery.state import (
    DeadLettered,
    EdgeName,
    Folded,
    KnownState,
    LoggedEvent,
    MemoryName,
    Refused,
    Watermark,
)
from soma_streams.sinks.packing import packed_keys, packed_texts, packed_uuids
from soma_streams.sinks.postgres.plain_rows import NO_PLAIN_ROWS, PlainRows, plain_rows
from soma_streams.sinks.postgres.row_types import HistoryRow, LinkRow, MemoryRow
from soma_streams.sinks.postgres.rows import (
    changes_of,
    glimpsed_state,
    history_months,
    history_rows,
    is_unseen,
    replayed_versions,
    whole_state,
)
from soma_streams.sinks.sessions import Connection, Pool, RowType, Sessions
from soma_streams.sinks.statements import statement
from soma_streams.sinks.watermarks import advance


class PostgresSink:
    """The records, their history and their links.

    Args:
        pool: Connections of a login with role soma_sinks, straight to the server, as `Sessions` wants them.
        group: The consumer group whose watermark moves with the rows.
    """

    def __init__(self, pool: Pool, group: str) -> None:
        self._sessions = Sessions(
            pool,
            RowType("memory_row", MemoryRow),
            RowType("link_row", LinkRow),
            RowType("history_row", HistoryRow),
        )
        self._group = group

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

    async def current(self, events: Sequence[LoggedEvent]) -> Mapping[MemoryName, KnownState]:
        """Return what the tables have of the memories that these events are about, tombstones included.

        Memories that no event of the batch needs whole come as glimpses.
        """
        whole = {each.name for each in events if needs_whole_state(each.event)}
        glimpsed = {each.name for each in events} - whole
        states: list[KnownState] = []
        async with self._sessions.borrow() as connection:
            if whole:
                states += map(whole_state, await _read(connection, "postgres/read_whole", whole))
            if glimpsed:
                states += map(glimpsed_state, await _read(connection, "postgres/read_glimpses", glimpsed))
        return {state.name: state for state in states}

    async def seen(self, tenants: Sequence[bytes], memory_ids: bytes) -> Collection[int]:
        """Return which of these memories are in the table, tombstones included, by their places.

        Args:
            tenants: Of the memories.
            memory_ids: 16 bytes for each, one after the other.

        Raises:
            psycopg.Error: As the server or the connection tells it, also for what cannot be a tenant.
        """
        offered_tenants, offered_ids = packed_keys(tenants, memory_ids)
        async with self._sessions.borrow() as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(
                statement("postgres/read_seen"), {"tenants": offered_tenants, "memory_ids": offered_ids}
            )
            return {row[0] for row in await cursor.fetchall()}

    async def write_plain(self, plain: PlainEvents, folded: Folded, watermark: Watermark) -> Refused:
        """Write a batch of which some events are plain ones about memories that were never seen.

        All of it or nothing. Nothing is tried again under guard: if one was seen after all, or an event is
        delivered again, that is an error, and `write` has to write the batch.

        Returns:
            The memories and links, not of the plain events, whose version guard refused the change.

        Raises:
            psycopg.errors.UniqueViolation: Something is there already.
            psycopg.Error: As the server or the connection tells it.
        """
        rows = plain_rows(plain, watermark.partition, watermark.epoch)
        return await self._write(folded, (), watermark, (), unseen=is_unseen, plain=rows)

    async def write_unseen(self, folded: Folded, watermark: Watermark) -> None:
        """Write new memories, each told of once, that are folded onto nothing; all of them or nothing.

        Raises:
            psycopg.errors.UniqueViolation: One is there already, or is delivered again.
            psycopg.Error: As the server or the connection tells it.
        """
        await self._write(folded, (), watermark, (), unseen=is_unseen)

    async def write(self, folded: Folded, dead: Sequence[DeadLettered], watermark: Watermark) -> Refused:
        """Write a batch, what became of each of its events, and the watermark: all of it or nothing.

        Writing it again changes nothing. An error leaves the tables as they were, and the connection goes
        back to the pool clean or is replaced there.

        What was never seen is inserted without a guard, at half the cost. When it is there after all, because
        the batch is delivered again or a predecessor still writes, everything is written anew under guard.

        Returns:
            The memories and links whose version guard refused the change, because the table has a newer one.

        Raises:
            psycopg.Error: As the server or the connection tells it.
        """
        replayed = replayed_versions(folded.settlements)
        if not dead and not replayed:
            try:
                return await self._write(folded, (), watermark, replayed, unseen=is_unseen)
            except UniqueViolation:
                pass
        return await self._write(folded, dead, watermark, replayed, unseen=None)

    async def _write(
        self,
        folded: Folded,
        dead: Sequence[DeadLettered],
        watermark: Watermark,
        replayed: Sequence[int],
        *,
        unseen: Callable[[MemoryRow], bool] | None,
        plain: PlainRows = NO_PLAIN_ROWS,
    ) -> Refused:
        """Write a batch; without `unseen`, everything under guard."""
        changes = changes_of(folded)
        fresh = [row for row in changes.memories if unseen is not None and unseen(row)]
        known = [row for row in changes.memories if unseen is None or not unseen(row)]
        months = sorted({*history_months(folded.settlements, dead), *plain.months})
        async with self._sessions.transaction() as connection:
            if months:
                # Before any row is locked, so that whoever makes a month waits for nobody.
                await connection.execute(statement("postgres/ensure_months"), {"months": months})
            if fresh or plain.memories.rows:
                offered = self._sessions.parameter(connection, "memory_row", fresh, plain.memories)
                await connection.execute(statement("postgres/insert_memories"), {"rows": offered})
            names = await self._merge(connection, "memory_row", "postgres/merge_memories", known, 2)
            edges = await self._merge(connection, "link_row", "postgres/merge_links", changes.links, 4)
            refused: Refused = frozenset(map(MemoryName._make, names)) | frozenset(map(EdgeName._make, edges))
            if changes.ended:
                await connection.execute(statement("postgres/end_links"), _keys(changes.ended))
            rows = history_rows(after_guard(folded.settlements, refused), dead)
            if rows or plain.history.rows:
                words = self._sessions.parameter(connection, "history_row", rows, plain.history)
                if unseen is not None:
                    await connection.execute(statement("postgres/append_history"), {"rows": words})
                else:
                    values = {"rows": words, "replayed": list(replayed)}
                    await connection.execute(statement("postgres/record_history"), values)
            await advance(connection, [watermark])
        return refused

    async def _merge(
        self,
        connection: Connection,
        row_type: str,
        query: str,
        rows: Sequence[tuple[Any, ...]],
        key_fields: int,
    ) -> frozenset[tuple[Any, ...]]:
        """Merge rows and return the keys of those that the version guard refused."""
        if not rows:
            return frozenset()
        offered = self._sessions.parameter(connection, row_type, rows)
        merged = await connection.execute(statement(query), {"rows": offered}, binary=True)
        if merged.rowcount == len(rows):
            return frozenset()
        return frozenset(row[:key_fields] for row in rows).difference(await merged.fetchall())


async def _read(connection: Connection, query: str, names: Iterable[MemoryName]) -> list[TupleRow]:
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(statement(query), _keys(names))
        return await cursor.fetchall()


def _keys(names: Iterable[MemoryName]) -> dict[str, object]:
    wanted = list(names)
    return {
        "tenants": packed_texts([name.tenant for name in wanted]),
        "memory_ids": packed_uuids([name.memory_id for name in wanted]),
    }
