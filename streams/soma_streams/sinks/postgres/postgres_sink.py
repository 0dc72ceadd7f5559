"""Applies batches to the tables, each in one transaction that ends with the watermark."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import structlog

from soma_schemas import tracing
from soma_schemas.events import MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.outcomes import Outcome
from soma_schemas.tracing import SpanKind
from soma_streams.delivery.fold import edge_of, fold
from soma_streams.delivery.native import NativeEvent
from soma_streams.delivery.state import (
    REMEMBERED_EVENTS,
    EdgeName,
    Folded,
    LinkState,
    LoggedEvent,
    MemoryName,
    MemoryState,
    Settlement,
    Unapplied,
    Watermark,
)
from soma_streams.sinks.binary_encoding import NO_ELEMENTS, Elements, encode_texts, encode_uuids
from soma_streams.sinks.postgres.native_rows import NativeRows
from soma_streams.sinks.postgres.row_types import HistoryRow, LinkRow, MemoryRow, OutboxRow, ReplayRow
from soma_streams.sinks.postgres.rows import (
    changes_of,
    history_months,
    history_rows,
    link_state,
    outbox_rows,
    replay_rows,
    replayed_versions,
    whole_state,
)
from soma_streams.sinks.sessions import Connection, Pool, RowType, Sessions
from soma_streams.sinks.statements import statement
from soma_streams.sinks.watermarks import advance

# What `soma_require_written` raises.
_NOT_ALL_WRITTEN = "SM001"
_MENDING_TRIES = 5


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
            RowType("outbox_row", OutboxRow),
            RowType("replay_row", ReplayRow),
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
        await self._sessions.check_tables()

    async def write(
        self, events: Sequence[LoggedEvent], unapplied: Sequence[Unapplied], watermark: Watermark
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
            unmade = _unmade(events, to_read)
            others = [each for each in events if each.version not in unmade]
            edges = {edge for each in others if (edge := edge_of(each.event)) is not None}
            with tracing.part("read memories", SpanKind.CLIENT, tracing.POSTGRESQL):
                memories, links = await self._read(to_read, edges)
            folded = fold(others, memories, self._limits, links)
            try:
                with tracing.part("write memories", SpanKind.CLIENT, tracing.POSTGRESQL):
                    await self._write(folded, list(unmade.values()), unapplied, watermark)
            except psycopg.Error as error:
                if error.sqlstate != _NOT_ALL_WRITTEN:
                    raise
            else:
                settled = iter(folded.settlements)
                return [
                    Settlement(each, Outcome.APPLIED) if each.version in unmade else next(settled)
                    for each in events
                ]
            if to_read >= (everything := {each.name for each in events}):
                # Each time around, somebody else has written one of these meanwhile.
                self._log.warning("batch_overtaken", partition=watermark.partition)
            to_read = everything

    async def mend(
        self,
        events: Sequence[LoggedEvent],
        unapplied: Sequence[Unapplied],
        states: Mapping[MemoryName, MemoryState],
        links: Mapping[EdgeName, LinkState],
    ) -> Folded:
        """Fold events of the log onto states that were before them, and write what the tables lack of that.

        What the tables have in this version or a newer one stays, and so does what the history says already.

        Args:
            events: Of one partition, in the order of the log.
            unapplied: What else lies between them.
            states: The memories concerned, as they were before the first event; absent means never seen.
            links: Their edges likewise.

        Returns:
            What the events made of the states.

        Raises:
            PoisonError: A patch would make a memory larger than it may be; nothing was written.
            psycopg.Error: As the server or the connection tells it.
        """
        folded = fold(events, states, self._limits, links)
        await self._write_newer(folded, unapplied)
        return folded

    async def put_back(self, states: Sequence[MemoryState]) -> None:
        """Write living memories that the tables lack, or have in an older version.

        Raises:
            psycopg.Error: As the server or the connection tells it.
        """
        await self._write_newer(Folded(tuple(states)), [])

    async def _write_newer(self, folded: Folded, unapplied: Sequence[Unapplied]) -> None:
        for tries_left in reversed(range(_MENDING_TRIES)):
            memories, links = await self._read(
                {state.name for state in folded.states}
                | {MemoryName(*link.name[:2]) for link in folded.links},
                {link.name for link in folded.links},
            )
            lacking = replace(
                folded,
                states=tuple(state for state in folded.states if _is_newer(state, memories.get(state.name))),
                links=tuple(link for link in folded.links if _is_newer(link, links.get(link.name))),
            )
            try:
                await self._write(lacking, [], unapplied, None)
            except psycopg.Error as error:
                if error.sqlstate != _NOT_ALL_WRITTEN:
                    raise
                # Somebody has written one of these meanwhile; or a row was damaged so that it takes none.
                if not tries_left:
                    self._log.warning("rows_not_mended", memories=len(lacking.states))
            else:
                return

    async def _read(
        self, names: Collection[MemoryName], edges: Collection[EdgeName]
    ) -> tuple[Mapping[MemoryName, MemoryState], Mapping[EdgeName, LinkState]]:
        """Return what the tables have of these memories and edges, dead ones included."""
        if not names:
            return {}, {}  # whoever links a memory names it
        async with self._sessions.borrow() as connection:
            found = await connection.execute(statement("postgres/read_memories"), _keys(names), binary=True)
            memories = {state.name: state for state in map(whole_state, await found.fetchall())}
            if not edges:
                return memories, {}
            found = await connection.execute(statement("postgres/read_links"), _edge_keys(edges), binary=True)
            return memories, {link.name: link for link in map(link_state, await found.fetchall())}

    async def _write(
        self,
        folded: Folded,
        unmade: Sequence[NativeEvent],
        unapplied: Sequence[Unapplied],
        watermark: Watermark | None,
    ) -> None:
        changes = changes_of(folded)
        months = history_months([*(each.logged for each in folded.settlements), *unmade, *unapplied])
        memories, more, history = changes.memories, NO_ELEMENTS, NO_ELEMENTS
        if unmade:
            native = NativeRows.of(unmade[0].source.reader)
            memories, more, history = (), native.memories(unmade, memories), native.history(unmade)
        async with self._sessions.transaction() as connection:
            if months:
                # Before any row is locked, so that whoever makes a month waits for nobody.
                await connection.execute(statement("postgres/ensure_months"), {"months": months})
            await self._upsert(
                connection, "write_memories", "memory_row", memories, more, remembered=REMEMBERED_EVENTS
            )
            await self._upsert(connection, "write_links", "link_row", changes.links)
            if changes.ended:
                await connection.execute(statement("postgres/end_links"), _keys(changes.ended))
                if last_states := outbox_rows(folded.settlements):
                    offered = self._sessions.parameter(connection, "outbox_row", last_states)
                    await connection.execute(statement("postgres/write_outbox"), {"rows": offered})
            rows = history_rows(folded.settlements, unapplied)
            if rows or unmade:
                words = self._sessions.parameter(connection, "history_row", rows, history)
                values = {"rows": words, "replayed": replayed_versions(folded.settlements, unapplied)}
                await connection.execute(statement("postgres/record_history"), values)
            if replays := replay_rows(folded.settlements):
                offered = self._sessions.parameter(connection, "replay_row", replays)
                await connection.execute(statement("postgres/record_replays"), {"rows": offered})
            await advance(connection, [watermark] if watermark is not None else [])

    async def _upsert(
        self,
        connection: Connection,
        query: str,
        row_type: str,
        rows: Sequence[tuple[Any, ...]],
        more: Elements = NO_ELEMENTS,
        **values: int,
    ) -> None:
        """Write all rows under guard; the server's answer is awaited at the end of the transaction."""
        if count := len(rows) + more.rows:
            offered = self._sessions.parameter(connection, row_type, rows, more)
            await connection.execute(
                statement(f"postgres/{query}"), {"rows": offered, "offered": count, **values}
            )


def _needing_a_read(events: Sequence[LoggedEvent]) -> set[MemoryName]:
    """Return the memories that are not simply stored by their only event in the batch."""
    mentions = Counter([each.name for each in events])
    return {each.name for each in events if mentions[each.name] > 1 or not _is_unconditional(each)}


def _unmade(events: Sequence[LoggedEvent], to_read: Collection[MemoryName]) -> dict[int, NativeEvent]:
    """Return the events, by their versions, of which rows are made as they were read."""
    native = [each for each in events if isinstance(each, NativeEvent)]
    if len({each.source.read for each in native}) != 1:
        return {}
    # A replay may claim the place of another event of the batch, which is told of once.
    replayed = {each.version for each in events if each.is_replayed}
    return {
        each.version: each for each in native if each.name not in to_read and each.version not in replayed
    }


def _is_unconditional(logged: LoggedEvent) -> bool:
    if isinstance(logged, NativeEvent):
        return not logged.is_conditional
    event = logged.event
    return isinstance(event, MemoryStored) and event.expected_version is None and not logged.is_replayed


def _is_newer(state: MemoryState | LinkState, held: MemoryState | LinkState | None) -> bool:
    return held is None or held.version < state.version


def _keys(names: Iterable[MemoryName]) -> dict[str, object]:
    wanted = list(names)
    return {
        "tenants": encode_texts([name.tenant for name in wanted]),
        "memory_ids": encode_uuids([name.memory_id for name in wanted]),
    }


def _edge_keys(edges: Iterable[EdgeName]) -> dict[str, object]:
    wanted = list(edges)
    return {
        "tenants": encode_texts([edge.tenant for edge in wanted]),
        "from_memory_ids": encode_uuids([edge.from_memory_id for edge in wanted]),
        "link_types": encode_texts([edge.link_type for edge in wanted]),
        "to_memory_ids": encode_uuids([edge.to_memory_id for edge in wanted]),
    }
