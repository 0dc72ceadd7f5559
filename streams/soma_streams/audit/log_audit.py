"""Compares the tables with what the log still has, and mends them by applying its events again.

Only places below the watermark of the Postgres sink are looked at, read before anything else: rows, history
and watermark change in one transaction, so whatever is not there by then was lost.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from soma_schemas.moments import of_timestamp
from soma_schemas.versions import Position, pack_version, unpack_version
from soma_streams.audit.audited_tables import AuditedTables, Span
from soma_streams.audit.drift import Drift, Findings
from soma_streams.audit.pace import Pace
from soma_streams.audit.record_mender import RecordMender
from soma_streams.audit.retained_log import RetainedLog, name_of
from soma_streams.delivery.first_place import first_place
from soma_streams.delivery.state import MemoryName
from soma_streams.log_state import LogState
from soma_streams.sinks.vectors.memory_pages import Recorded
from soma_streams.transport.records import Record

# So many findings are held, and mended in one more pass over their partition.
_MOST_AT_ONCE = 4096


class _Finding(NamedTuple):
    kind: Drift
    name: MemoryName | None
    position: Position | None
    version: int
    logged_at: datetime


class LogAudit:
    """One comparison.

    Args:
        log: What the brokers still have.
        tables: The rows and the history.
        mender: Mends them; None only looks.
        findings: Gets what is found.
        pace: How fast records are read.
    """

    def __init__(
        self,
        log: RetainedLog,
        tables: AuditedTables,
        mender: RecordMender | None,
        findings: Findings,
        pace: Pace,
    ) -> None:
        self._log = log
        self._tables = tables
        self._mender = mender
        self._findings = findings
        self._pace = pace

    async def run(self, state: LogState, reached: Mapping[int, int], since: datetime | None) -> None:
        """Compare all partitions.

        Args:
            state: Where each begins and ends.
            reached: Below which offset everything of each is in the tables.
            since: Leave out what was logged before.

        Raises:
            Exception: The brokers or PostgreSQL do not answer, or refuse.
        """
        starts = dict(state.starts)
        if since is not None:
            starts |= await self._log.offsets_at(since, state.ends)
        for partition, start in starts.items():
            await self._compare(
                state, partition, max(start, state.starts[partition]), reached.get(partition, 0)
            )

    async def _compare(self, state: LogState, partition: int, start: int, end: int) -> None:
        while start < end:
            found, start = await self._looked(partition, state.identity.epoch, start, end)
            for each in found:
                self._findings.add(each.kind, each.name, position=each.position)
            names = {each.name for each in found if each.name is not None}
            if self._mender is not None and names:
                await self._mender.mend(state, partition, end, names)
                await self._count_mended(partition, found)

    async def _looked(self, partition: int, epoch: int, start: int, end: int) -> tuple[list[_Finding], int]:
        """Return what the tables lack from an offset on, and where to go on: that may be too much at once."""
        found: list[_Finding] = []
        rows: dict[MemoryName, _Finding] = {}
        async for page in self._log.pages(partition, start, end):
            self._findings.events += len(page)
            start = page[-1].offset + 1
            span = _span(partition, epoch, page)
            found += await self._lost(span, page)
            for name, behind in (await self._tables.behind(span)).items():
                # Of a memory with many events only the last one is told.
                kind = Drift.ROW_MISSING if behind.gone else Drift.ROW_STALE
                rows[name] = _Finding(kind, name, None, behind.version, span.first)
            await self._pace.done(len(page))
            if len(found) + len(rows) >= _MOST_AT_ONCE:
                return [*found, *rows.values()], start
        return [*found, *rows.values()], end

    async def _lost(self, span: Span, page: Sequence[Record]) -> list[_Finding]:
        lost = await self._tables.lost(span)
        gone = [
            _Finding(
                Drift.EVENT_LOST,
                name_of(record),
                Position(span.partition, record.offset, unpack_version(span.lowest)[0]),
                version,
                moment,
            )
            for record, version, moment in zip(page, span.versions, span.moments, strict=True)
            if version in lost
        ]
        rows = await self._tables.named({each.name for each in gone if each.name is not None})
        return [each for each in gone if each.name is None or not _is_over(rows.get(each.name), each.version)]

    async def _count_mended(self, partition: int, found: Sequence[_Finding]) -> None:
        rows = await self._tables.named({each.name for each in found if each.name is not None})
        events = [each for each in found if each.kind is Drift.EVENT_LOST]
        lost: frozenset[int] = frozenset()
        if events:
            versions, moments = [each.version for each in events], [each.logged_at for each in events]
            lost = await self._tables.lost(Span(partition, versions, moments, min(versions), max(versions)))
        for each in found:
            if each.kind is Drift.EVENT_LOST:
                mended = each.version not in lost
            else:
                row = rows.get(each.name) if each.name is not None else None
                mended = row is not None and row.state.version >= each.version
            self._findings.tallies[each.kind].mended += mended


def _span(partition: int, epoch: int, page: Sequence[Record]) -> Span:
    places = [place_in_history(record, epoch) for record in page]
    return Span(
        partition,
        [version for version, _ in places],
        [moment for _, moment in places],
        pack_version(epoch, page[0].offset),
        pack_version(epoch, page[-1].offset),
    )


def _is_over(row: Recorded | None, version: int) -> bool:
    """Say whether a memory was deleted after an event: mending would bring back what may have been erased."""
    return row is not None and row.state.content is None and row.state.version >= version


def place_in_history(record: Record, epoch: int) -> tuple[int, datetime]:
    """Return under which version the history has a record, and when that was logged.

    A replay is told of where it lay first. One that claims what cannot be is a dead letter at its own place.
    """
    version, logged_at = pack_version(epoch, record.offset), of_timestamp(record.timestamp_ms)
    try:
        first = first_place(record.headers)
    except ValueError:
        first = None
    if first is not None and first.version < version and first.logged_at <= logged_at:
        return first.version, first.logged_at
    return version, logged_at
