"""Makes an index whole that was lost, is older than the log, or holds another one, before events follow."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

import structlog

from soma_schemas.vectors.points import Point
from soma_schemas.vectors.progress import Fill, Header, Held
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.state import MemoryName, MemoryState
from soma_streams.log_state import LogState
from soma_streams.metrics import FillMetrics
from soma_streams.sinks.vectors.memory_pages import BEFORE_ALL, Recorded, Records
from soma_streams.sinks.vectors.points import PointMaker, poison_named
from soma_streams.sinks.vectors.standing import held_by
from soma_streams.sinks.vectors.vector_sink_errors import IndexLostError, LogShorterError
from soma_streams.sinks.vectors.writer import PointWriter

_RECORDS_PER_PAGE = 256
_PAGES_PER_LOG_LINE = 40
_FIRST_EPOCH = 1

log = structlog.get_logger(__name__)


class Start(StrEnum):
    """What a worker does with the index that it finds."""

    GO_ON = "go_on"  # from where the index stands, or from what was committed if that is less
    FOLLOW_ON = "follow_on"  # it has all of the epoch that is over, and goes on with the next
    BEGIN_FROM_LOG = "begin_from_log"
    BEGIN_FROM_RECORDS = "begin_from_records"
    FILL_ON = "fill_on"  # a fill from the records was interrupted


def start_of(held: Held | None, log_state: LogState, *, has_former_log: bool = False) -> Start:
    """Decide what to do with an index: pure.

    Args:
        held: What it says of itself; None when it says nothing: it is new, lost, or of an older version.
        log_state: The log that it is to hold.
        has_former_log: Whether it has everything of the log that it holds, and that is the one before this.

    Raises:
        LogShorterError: The index holds more of this log than there is.
    """
    starts = log_state.starts
    if held is None:
        return Start.BEGIN_FROM_LOG if _has_everything(log_state) else Start.BEGIN_FROM_RECORDS
    if held.header.log != log_state.identity:
        return Start.FOLLOW_ON if has_former_log and not held.unfilled else Start.BEGIN_FROM_RECORDS
    if held.unfilled:
        stands: Mapping[int, int] | None = held.fill.tail if held.fill is not None else None
    else:
        stands = held.progress
    if stands is not None and any(stands.get(partition, 0) < start for partition, start in starts.items()):
        return Start.BEGIN_FROM_RECORDS
    _require_within("the vector index", held.progress, log_state)
    return Start.FILL_ON if held.unfilled else Start.GO_ON


class Filling:
    """Brings an index to where events can follow.

    Args:
        writer: The engine.
        records: What the log may have no more.
        maker: Turns states into points.
        retry: Waits out what passes.
        flood: Stops when the embedder or the engine refuses nearly everything.
        topic: The log's name on the brokers.
        metrics: Tell how far it is.
        former_log: Says whether an index has everything of the log that it holds, which another one has
            followed since.
        from_records: Fill an index that says nothing of itself from the records, also where the log has
            everything: there are fewer of them than events.
    """

    def __init__(
        self,
        *,
        writer: PointWriter,
        records: Records,
        maker: PointMaker,
        retry: Retry,
        flood: FloodGuard,
        topic: str,
        metrics: FillMetrics,
        former_log: Callable[[Held, LogState], Awaitable[bool]] | None = None,
        from_records: bool = False,
    ) -> None:
        self._writer = writer
        self._records = records
        self._maker = maker
        self._retry = retry
        self._flood = flood
        self._topic = topic
        self._metrics = metrics
        self._former_log = former_log
        self._from_records = from_records

    async def prepare(self, ask: Callable[[], Awaitable[LogState]]) -> Held:
        """Return what the index holds, once it is of this log and nothing but the log's rest is missing.

        Args:
            ask: Asks the brokers for the log. Its end is asked for after what is compared with it, since
                others write to the stores meanwhile.

        Raises:
            LogShorterError: A store holds more of this log than there is.
            IndexLostError: Somebody else made the index anew meanwhile.
            MismatchError: It is to be filled from a database that is a point in time.
            Exception: The engine or PostgreSQL refuses for good.
        """
        partitions = list((await ask()).starts)
        held = await self._held(partitions)
        log_state = await ask()
        start = start_of(held, log_state, has_former_log=await self._has_former_log(held, log_state))
        if self._from_records and start is Start.BEGIN_FROM_LOG:
            start = Start.BEGIN_FROM_RECORDS
        if start in {Start.BEGIN_FROM_RECORDS, Start.FILL_ON}:
            await self._retry("look at the database", self._records.require_live)
        if start in {Start.BEGIN_FROM_LOG, Start.BEGIN_FROM_RECORDS}:
            await self._begin(held, log_state, from_records=start is Start.BEGIN_FROM_RECORDS)
            held = await self._held(partitions)
        elif start is Start.FOLLOW_ON:
            following = Header(uuid4(), log_state.identity, from_records=False).point()
            await self._retry("go on with the next log", lambda: self._write([following]))
            log.info("index_follows_log", epoch=log_state.identity.epoch)
            held = await self._held(partitions)
        if held is None or held.header.log != log_state.identity:
            raise IndexLostError("the vector index was made anew by somebody else")
        if held.unfilled:
            await self._fill(held, ask)
            held = await self._held(partitions)
            if held is None or held.unfilled:
                raise IndexLostError("the vector index was made anew while it was filled")
        return held

    async def _has_former_log(self, held: Held | None, log_state: LogState) -> bool:
        asked = self._former_log
        if held is None or asked is None or held.header.log.epoch >= log_state.identity.epoch:
            return False
        return await self._retry("look into the former log", lambda: asked(held, log_state))

    async def _held(self, partitions: Sequence[int]) -> Held | None:
        return await self._retry("read what the index holds", lambda: held_by(self._writer, partitions))

    async def _begin(self, held: Held | None, log_state: LogState, *, from_records: bool) -> None:
        header = Header(uuid4(), log_state.identity, from_records)
        foreign = held is not None and held.header.log.topic_id != log_state.identity.topic_id
        if not await self._retry("look into the index", self._writer.is_empty):
            await self._retry("make the index anew", lambda: self._writer.renew(keep_former=foreign))
            log.warning("index_begun_anew", from_records=from_records, held_another_log=foreign)
        await self._retry("begin the index", lambda: self._write([header.point()]))

    async def _fill(self, held: Held, ask: Callable[[], Awaitable[LogState]]) -> None:
        header = held.header
        fill = held.fill
        if fill is None:
            tail = await self._tail(held.header.log.epoch, ask)
            total = await self._retry("count the records", self._records.count)
            fill = Fill(0, total, BEFORE_ALL, tail)
            begun = fill.point(header)
            await self._retry("begin the fill", lambda: self._write([begun]))
        log.info("index_fill_begins", filled=fill.filled, total=fill.total)
        self._metrics.to_fill.set(fill.total - fill.filled)
        pages = 0
        while page := await self._page(fill.after):
            fill = replace(fill, filled=fill.filled + len(page), after=page[-1].key)
            await self._put(page, [fill.point(header)])
            self._metrics.filled.inc(len(page))
            self._metrics.to_fill.set(max(0, fill.total - fill.filled))
            pages += 1
            if pages % _PAGES_PER_LOG_LINE == 0:
                log.info("index_filled_so_far", filled=fill.filled, total=fill.total)
        ended = replace(fill, done=True)
        stands = [header.progress_point(partition, offset) for partition, offset in fill.tail.items()]
        await self._retry("end the fill", lambda: self._write([*stands, ended.point(header)]))
        self._metrics.to_fill.set(0)
        log.info("index_fill_ends", filled=fill.filled)

    async def _tail(self, epoch: int, ask: Callable[[], Awaitable[LogState]]) -> dict[int, int]:
        """Return where the log goes on after the records: read before them, so that nothing lies between."""
        reached = await self._retry(
            "read the records' watermarks", lambda: self._records.watermarks(self._topic, epoch)
        )
        log_state = await ask()
        _require_within("PostgreSQL", reached, log_state)
        return {
            partition: max(start, reached.get(partition, 0)) for partition, start in log_state.starts.items()
        }

    async def _page(self, after: tuple[str, UUID]) -> list[Recorded]:
        return await self._retry("read records", lambda: self._records.page(after, _RECORDS_PER_PAGE))

    async def _put(self, page: Sequence[Recorded], along: Sequence[Point] = ()) -> None:
        """Write some records, and leave out what can never be indexed: it is no dead letter a second time."""
        try:
            with poison_named():
                points = await self._retry(
                    "embed records", lambda: self._maker.points(_states(page), _ended(page))
                )
                await self._retry("fill the index", lambda: self._write([*points, *along]))
        except Exception as error:
            if classify(error) is not FailureClass.POISON:
                raise
            await self._retry("check the index", self._writer.check)
        else:
            for _ in page:
                self._flood.observe(dead_lettered=False)
            return
        if len(page) > 1:
            middle = len(page) // 2
            await self._put(page[:middle])
            await self._put(page[middle:])
        else:
            self._flood.observe(dead_lettered=True)
            log.warning("record_not_indexable", version=page[0].state.version)
        if along:
            await self._retry("fill the index", lambda: self._write(along))

    async def _write(self, points: Sequence[Point]) -> None:
        await self._writer.write(points)
        await self._writer.flush()


def _states(page: Sequence[Recorded]) -> list[MemoryState]:
    return [each.state for each in page]


def _ended(page: Sequence[Recorded]) -> dict[MemoryName, datetime]:
    return {each.state.name: each.changed_at for each in page if each.state.content is None}


def _has_everything(log_state: LogState) -> bool:
    return log_state.identity.epoch == _FIRST_EPOCH and not any(log_state.starts.values())


def _require_within(who: str, stands: Mapping[int, int], log_state: LogState) -> None:
    for partition, offset in stands.items():
        end = log_state.ends.get(partition, offset)
        if offset > end:
            raise LogShorterError(
                f"{who} holds partition {partition} of the log up to {offset}, and the log ends at {end}"
            )
