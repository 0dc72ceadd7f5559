"""Compares the vector index with the rows in PostgreSQL, while writers write, and mends it from them.

First both are summed over buckets of point ids; then the rows and the points of buckets whose sums differ are
compared; then what differs is looked at again, once each sink has passed what the other was seen to have, so
that lag is never taken for drift. Never more than a page of either is held.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from soma_schemas.clock import Clock
from soma_schemas.groups import SinkGroup
from soma_schemas.retention import TenantPolicies
from soma_schemas.vectors.payload import DELETED_AT, TENANT, VERSION, memory_of, tombstone_payload
from soma_schemas.vectors.points import DENSE, SPARSE, Point, StoredPoint
from soma_schemas.versions import NO_VERSION
from soma_streams.audit.audited_tables import AuditedTables
from soma_streams.audit.drift import Drift, Findings
from soma_streams.audit.fingerprints import Buckets, bucket_of, canonical, digest, first_of
from soma_streams.audit.pace import Pace
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.state import MemoryName
from soma_streams.sinks.postgres.postgres_sink import PostgresSink
from soma_streams.sinks.vectors.memory_pages import BEFORE_ALL, Recorded, Records
from soma_streams.sinks.vectors.points import PointMaker, poison_named
from soma_streams.sinks.vectors.states import id_of, living_point, state_of, tombstone
from soma_streams.sinks.vectors.writer import PointWriter

_PAGE = 256
_MOST_UNREADABLE = 4096
_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 30.0

log = structlog.get_logger(__name__)

Offsets = Callable[[], Awaitable[Mapping[int, int]]]


class IndexStores(NamedTuple):
    """What is compared, and what mends it.

    Attributes:
        writer: The index.
        index_offsets: Below which offset everything of each partition is in the index.
        records: The rows, in pages.
        record_offsets: Below which offset everything of each partition is in the rows.
        tables: The rows by name, and what else the tables know.
        sink: Writes rows.
        maker: Makes points.
    """

    writer: PointWriter
    index_offsets: Offsets
    records: Records
    record_offsets: Offsets
    tables: AuditedTables
    sink: PostgresSink
    maker: PointMaker


class _Difference(NamedTuple):
    kind: Drift
    row: Recorded | None
    point: StoredPoint | None


class IndexAudit:
    """One comparison.

    Args:
        stores: What is compared.
        findings: Gets what is found.
        clock: Tells what is overdue, and paces the looking again.
        pace: How fast pages are read.
        grace: How long after its deadline a memory may still be there.
        mends: Whether to mend what is found.
    """

    def __init__(
        self,
        stores: IndexStores,
        findings: Findings,
        *,
        clock: Clock,
        pace: Pace,
        grace: timedelta,
        mends: bool,
    ) -> None:
        self._stores = stores
        self._findings = findings
        self._clock = clock
        self._pace = pace
        self._grace = grace
        self._mends = mends
        self._policies: tuple[str, TenantPolicies] | None = None
        # Points that a row was found for, although they do not say so.
        self._unreadable: set[UUID] = set()

    async def run(self) -> None:
        """Compare everything.

        Raises:
            Exception: A store does not answer, or refuses.
        """
        differing = await self._differing()
        if differing:
            await self._compare_rows(differing)
            await self._compare_points(differing)

    async def _differing(self) -> frozenset[int]:
        """Return the buckets in which the two differ, and look for what is overdue on the way."""
        buckets = Buckets()
        async for page in self._rows():
            self._findings.memories += len(page)
            for each in page:
                place, payload = _point_of(each)
                vectors = () if each.state.content is None else (DENSE, SPARSE)
                buckets.toggle(place, digest(place, canonical(payload), vectors))
                await self._look_for_overdue(each)
        async for points in self._points(None):
            self._findings.points += len(points)
            for point in points:
                buckets.toggle(point.id, digest(point.id, canonical(point.payload), point.vectors))
        return buckets.differing()

    async def _compare_rows(self, differing: frozenset[int]) -> None:
        async for page in self._rows():
            rows = {id_of(each.state.name): each for each in page}
            rows = {place: each for place, each in rows.items() if bucket_of(place) in differing}
            points = await self._stores.writer.look(rows.keys()) if rows else {}
            suspects = [
                each.state.name
                for place, each in rows.items()
                if await self._difference(each, points.get(place)) is not None
            ]
            await self._confirm(suspects)

    async def _compare_points(self, differing: frozenset[int]) -> None:
        """Look for points of which there is no row; the others were compared with their rows."""
        async for points in self._points(differing):
            # A tombstone without a row hides nothing and shows nothing.
            living = [point for point in points if DELETED_AT not in point.payload]
            named = [name for point in living if (name := _name_of(point)) is not None]
            rows = await self._stores.tables.named(named)
            await self._confirm([name for name in named if name not in rows])
            # Whose it is, nobody can say, so nobody can mend it.
            for point in points:
                if _name_of(point) is None and point.id not in self._unreadable:
                    self._findings.add(Drift.POINT_EXTRA, point=point.id)

    async def _confirm(self, names: Sequence[MemoryName]) -> None:
        """Look again at memories that differed, and count and mend what differs for good."""
        if not names:
            return
        stores = self._stores
        rows = await stores.tables.named(names)
        # Read after the rows: the index has come to each of them once it has come to here.
        if not await self._passes(stores.index_offsets, await stores.record_offsets()):
            self._findings.undecided += len(names)
            return
        points = await stores.writer.look([id_of(name) for name in names])
        seen = await stores.index_offsets()
        differences: dict[MemoryName, _Difference] = {}
        ahead: list[MemoryName] = []
        for name in names:
            row, point = rows.get(name), points.get(id_of(name))
            if row is None:
                ahead += [name] if point is not None else []
                continue
            kind = await self._difference(row, point)
            if kind is Drift.POINT_AHEAD:
                ahead.append(name)
            elif kind is not None:
                differences[name] = _Difference(kind, row, point)
        if ahead:
            # The other way around.
            if await self._passes(stores.record_offsets, seen):
                differences |= await self._still_ahead({name: points[id_of(name)] for name in ahead})
            else:
                self._findings.undecided += len(ahead)
        await self._settle(differences)

    async def _still_ahead(self, points: Mapping[MemoryName, StoredPoint]) -> dict[MemoryName, _Difference]:
        """Return how points differ from their rows that were newer than those a while ago, or had none."""
        rows = await self._stores.tables.named(points.keys())
        applied = await self._stores.tables.last_applied([name for name in points if name not in rows])
        found: dict[MemoryName, _Difference] = {}
        for name, point in points.items():
            row = rows.get(name)
            if row is None and name not in applied:
                found[name] = _Difference(Drift.POINT_EXTRA, None, point)
            elif row is None or _version_of(point) > row.state.version:
                found[name] = _Difference(Drift.POINT_AHEAD, row, point)
        return found

    async def _settle(self, differences: Mapping[MemoryName, _Difference]) -> None:
        """Count what differs for good, unless a dead letter of one sink explains it; then mend it."""
        letters = {
            group: await self._stores.tables.dead_lettered(differences.keys(), group)
            for group in (SinkGroup.VECTORS, SinkGroup.POSTGRES)
            if differences
        }
        left: dict[MemoryName, _Difference] = {}
        for name, each in differences.items():
            late = SinkGroup.POSTGRES if each.kind is Drift.POINT_AHEAD else SinkGroup.VECTORS
            behind = each.row.state.version if each.row is not None else NO_VERSION
            if late is SinkGroup.VECTORS:
                behind = _version_of(each.point) if each.point is not None else NO_VERSION
            if letters[late].get(name, NO_VERSION) > behind:
                self._findings.dead_lettered += 1
                continue
            self._findings.add(each.kind, name)
            left[name] = each
            if (
                each.point is not None
                and _name_of(each.point) is None
                and len(self._unreadable) < _MOST_UNREADABLE
            ):
                self._unreadable.add(each.point.id)
        if self._mends and left:
            await self._mend(left)

    async def _mend(self, differences: Mapping[MemoryName, _Difference]) -> None:
        writer = self._stores.writer
        for name, each in differences.items():
            if each.kind is Drift.POINT_AHEAD:
                await self._put_back(name, each)
        rows = {name: each.row for name, each in differences.items() if each.row is not None}
        points = [
            Point(each.point.id, _version_of(each.point), self._ended(name, each.point), None, None)
            for name, each in differences.items()
            if each.kind is Drift.POINT_EXTRA and each.row is None and each.point is not None
        ]
        behind = [row for name, row in rows.items() if differences[name].kind is not Drift.POINT_AHEAD]
        await writer.write([*points, *await self._made(behind)], mends=True)
        await writer.flush()
        after = await writer.look([id_of(name) for name in differences])
        rows_after = await self._stores.tables.named(differences.keys())
        for name, each in differences.items():
            row, point = rows_after.get(name), after.get(id_of(name))
            if row is None:
                mended = each.kind is Drift.POINT_EXTRA and (point is None or DELETED_AT in point.payload)
            else:
                # Newer is what a sink wrote since.
                mended = await self._difference(row, point) in {None, Drift.POINT_AHEAD}
                mended = mended and (each.kind is not Drift.POINT_AHEAD or not _is_older(row, each.point))
            self._findings.tallies[each.kind].mended += mended

    async def _made(self, rows: Sequence[Recorded]) -> list[Point]:
        """Return the points of rows, without those that can never be indexed."""
        ended = {each.state.name: each.changed_at for each in rows if each.state.content is None}
        try:
            with poison_named():
                return await self._stores.maker.points([each.state for each in rows], ended)
        except Exception as error:
            if classify(error) is not FailureClass.POISON:
                raise
        if len(rows) == 1:
            log.warning("memory_not_indexable", version=rows[0].state.version)
            return []
        middle = len(rows) // 2
        return [*await self._made(rows[:middle]), *await self._made(rows[middle:])]

    async def _put_back(self, name: MemoryName, difference: _Difference) -> None:
        """Make a row from its point, which holds the whole state, if the history says that it was applied."""
        point = difference.point
        if point is None or DELETED_AT in point.payload:
            return
        applied = (await self._stores.tables.last_applied([name])).get(name)
        if applied is not None and applied.version == _version_of(point) and canonical(point.payload):
            await self._stores.sink.put_back([state_of(point.payload)])

    def _ended(self, name: MemoryName, point: StoredPoint) -> dict[str, Any]:
        """Return the tombstone of a point whose memory nothing knows of, with its own version."""
        return tombstone_payload(
            tenant=name.tenant,
            memory_id=name.memory_id,
            version=_version_of(point),
            recent_event_ids=(),
            deleted_at=self._clock.now(),
        )

    async def _difference(self, row: Recorded, point: StoredPoint | None) -> Drift | None:
        """Return how a point differs from its row, as far as these two tell."""
        if point is None:
            return Drift.POINT_MISSING
        state, found = row.state, _version_of(point, row.state.version)
        if found > state.version:
            return Drift.POINT_AHEAD
        if state.content is None and DELETED_AT not in point.payload:
            return Drift.POINT_EXTRA
        if found < state.version:
            return Drift.POINT_STALE
        if canonical(point.payload) != canonical(_point_of(row)[1]):
            return Drift.POINT_WRONG
        if state.content is None:
            return Drift.POINT_WRONG if point.vectors else None
        if {DENSE, SPARSE} <= point.vectors:
            return None
        wanted = {
            name
            for made in await self._made([row])
            for name, there in (
                (DENSE, made.dense is not None),
                (SPARSE, made.sparse is not None and bool(made.sparse.indices)),
            )
            if there
        }
        return None if wanted <= point.vectors else Drift.POINT_UNEMBEDDED

    async def _passes(self, offsets: Offsets, wanted: Mapping[int, int]) -> bool:
        """Wait until a sink has come so far; False when it does not get on."""
        before: Mapping[int, int] = {}
        since = self._clock.monotonic()
        while True:
            now = await offsets()
            if all(now.get(partition, 0) >= offset for partition, offset in wanted.items()):
                return True
            if now != before:
                before, since = now, self._clock.monotonic()
            if self._clock.monotonic() - since >= _PATIENCE_SECONDS:
                return False
            await self._clock.sleep(_LOOK_SECONDS)

    async def _look_for_overdue(self, row: Recorded) -> None:
        state = row.state
        if state.content is None:
            return
        if self._policies is None or self._policies[0] != state.name.tenant:
            self._policies = state.name.tenant, await self._stores.tables.policies(state.name.tenant)
        deadline = self._policies[1].deadline_of(state.content)
        if deadline is not None and deadline.at < self._clock.now() - self._grace:
            self._findings.add(Drift.OVERDUE, state.name)

    async def _rows(self) -> AsyncIterator[list[Recorded]]:
        after = BEFORE_ALL
        while page := await self._stores.records.page(after, _PAGE):
            yield page
            after = page[-1].key
            await self._pace.done(len(page))

    async def _points(self, within: frozenset[int] | None) -> AsyncIterator[list[StoredPoint]]:
        """Yield the points of memories; in some buckets alone if these are given."""
        ahead = sorted(within, reverse=True) if within is not None else []
        start = first_of(ahead.pop()) if ahead else UUID(int=0)
        while page := await self._stores.writer.page(start, _PAGE):
            last = page[-1].id
            yield [
                point
                for point in page
                # The index speaks of itself in points without a tenant.
                if TENANT in point.payload and (within is None or bucket_of(point.id) in within)
            ]
            await self._pace.done(len(page))
            if last.int + 1 >= 1 << 128:
                return
            start = UUID(int=last.int + 1)
            if within is not None and bucket_of(start) not in within:
                while ahead and ahead[-1] <= bucket_of(last):
                    ahead.pop()
                if not ahead:
                    return
                start = first_of(ahead.pop())


def _point_of(row: Recorded) -> tuple[UUID, Mapping[str, Any]]:
    """Return where a row's point is, and what it says."""
    state = row.state
    if state.content is None:
        made = tombstone(state, row.changed_at)
    else:
        made = living_point(state, state.content, None, None)
    return made.id, made.payload


def _name_of(point: StoredPoint) -> MemoryName | None:
    """Return whose point it is, by its own account; None when its place is another's, or it says nothing."""
    try:
        name = MemoryName(point.payload[TENANT], memory_of(point.payload).memory_id)
        return name if id_of(name) == point.id else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _version_of(point: StoredPoint, otherwise: int = NO_VERSION) -> int:
    version = point.payload.get(VERSION)
    return version if isinstance(version, int) else otherwise


def _is_older(row: Recorded, point: StoredPoint | None) -> bool:
    return point is not None and row.state.version < _version_of(point)
