"""What a worker does with the index that it finds, decided from what the index and the brokers say."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, cast
from uuid import UUID

import pytest

from contract.vectors.build import A_MOMENT, a_memory_id, a_state
from contract.vectors.engines import server_engine
from fakes import FakeClock
from soma_schemas.errors import MismatchError
from soma_schemas.metrics import MetricSet
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.payload import TENANT
from soma_schemas.vectors.points import Point
from soma_schemas.vectors.progress import Fill, Header, Held, LogIdentity
from soma_streams.checks import Waiting
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.state import MemoryName, MemoryState
from soma_streams.log_state import LogState
from soma_streams.metrics import FillMetrics
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.sinks.vectors.filling import Filling, Start, start_of
from soma_streams.sinks.vectors.memory_pages import Recorded
from soma_streams.sinks.vectors.points import PointMaker
from soma_streams.sinks.vectors.standing import held_by
from soma_streams.sinks.vectors.vector_sink_errors import LogShorterError
from soma_streams.sinks.vectors.writer import PointWriter
from unit.vectors.test_sink import CountingEmbedder

_COLLECTION = Collection("memories", "counting", 4)
_LOG = LogIdentity("ours", 1)
_MADE_ANEW = LogIdentity("theirs", 1)
_LATER_EPOCH = LogIdentity("ours", 2)


def a_log_state(
    starts: tuple[int, int] = (0, 0), ends: tuple[int, int] = (100, 100), identity: LogIdentity = _LOG
) -> LogState:
    """A log of two partitions."""
    return LogState(identity, dict(enumerate(starts)), dict(enumerate(ends)))


def held(
    progress: Mapping[int, int],
    *,
    log: LogIdentity = _LOG,
    from_records: bool = False,
    fill: Fill | None = None,
) -> Held:
    """What an index says of itself."""
    return Held(Header(UUID(int=1), log, from_records), progress, fill)


def a_fill(*, tail: Mapping[int, int], done: bool = False) -> Fill:
    """A fill from the records."""
    return Fill(5, 10, ("acme", UUID(int=5)), tail, done)


@pytest.mark.parametrize(
    ("index", "log", "start"),
    [
        # It says nothing: new, lost, or of an older version.
        (None, a_log_state(), Start.BEGIN_FROM_LOG),
        (None, a_log_state(starts=(0, 1)), Start.BEGIN_FROM_RECORDS),
        (None, a_log_state(identity=_LATER_EPOCH), Start.BEGIN_FROM_RECORDS),
        # It holds this log.
        (held({}), a_log_state(), Start.GO_ON),
        (held({0: 100, 1: 40}), a_log_state(), Start.GO_ON),
        (held({0: 100, 1: 40}), a_log_state(starts=(90, 40)), Start.GO_ON),
        # The log has dropped what it would need next.
        (held({0: 100, 1: 40}), a_log_state(starts=(0, 41)), Start.BEGIN_FROM_RECORDS),
        (held({0: 100}), a_log_state(starts=(0, 1)), Start.BEGIN_FROM_RECORDS),
        # It holds another one: made anew under the same name, with and without a new epoch.
        (held({0: 100, 1: 100}, log=_MADE_ANEW), a_log_state(), Start.BEGIN_FROM_RECORDS),
        (held({}, log=_MADE_ANEW), a_log_state(), Start.BEGIN_FROM_RECORDS),
        (held({0: 9, 1: 9}), a_log_state(identity=_LATER_EPOCH), Start.BEGIN_FROM_RECORDS),
        # A fill from the records was interrupted, before its first page and after.
        (held({}, from_records=True), a_log_state(starts=(7, 7)), Start.FILL_ON),
        (held({}, from_records=True, fill=a_fill(tail={0: 7, 1: 9})), a_log_state((7, 7)), Start.FILL_ON),
        # It took so long that the log has dropped what comes after the records.
        (
            held({}, from_records=True, fill=a_fill(tail={0: 7, 1: 9})),
            a_log_state(starts=(8, 8)),
            Start.BEGIN_FROM_RECORDS,
        ),
        # It was filled, and went on.
        (
            held({0: 7, 1: 9}, from_records=True, fill=a_fill(tail={0: 7, 1: 9}, done=True)),
            a_log_state(starts=(7, 7)),
            Start.GO_ON,
        ),
    ],
)
def test_what_is_done_with_an_index_follows_from_what_it_holds_and_what_the_log_has(
    index: Held | None, log: LogState, start: Start
) -> None:
    assert start_of(index, log) is start


def test_an_index_that_has_all_of_the_log_before_goes_on_with_the_next() -> None:
    following = a_log_state(identity=_LATER_EPOCH)
    half = held({0: 9}, from_records=True, fill=a_fill(tail={0: 7}))

    assert start_of(held({0: 100, 1: 100}), following, has_former_log=True) is Start.FOLLOW_ON
    assert start_of(half, following, has_former_log=True) is Start.BEGIN_FROM_RECORDS


def test_an_index_beyond_the_end_of_its_own_log_stops_the_worker_and_is_kept() -> None:
    with pytest.raises(LogShorterError, match="partition 1 of the log up to 101") as raised:
        start_of(held({0: 100, 1: 101}), a_log_state())

    assert classify(raised.value) is FailureClass.SYSTEMIC
    assert "SOMA_TOPICS__EPOCH" in str(raised.value.remedy)


class FixedRecords:
    """Records as the test has them, instead of PostgreSQL; it notes after which key pages were asked for."""

    def __init__(self, states: Sequence[MemoryState]) -> None:
        self.states = sorted(states, key=lambda state: state.name)
        self.asked: list[tuple[str, UUID]] = []
        self.is_live = True

    async def require_live(self) -> None:
        """Be a point in time, or not."""
        if not self.is_live:
            raise MismatchError("a point in time")

    async def count(self) -> int:
        """Count."""
        return len(self.states)

    async def watermarks(self, topic: str, epoch: int) -> Mapping[int, int]:
        """Be settled up to 90, and say nothing of partition 1."""
        assert (topic, epoch) == ("memory.events", 1)
        return {0: 90}

    async def page(self, after: tuple[str, UUID], most: int) -> list[Recorded]:
        """Return the next ones."""
        self.asked.append(after)
        return [Recorded(state, A_MOMENT) for state in self.states if state.name > after][:most]


class Interrupted:
    """An engine that takes some writes, and then refuses as one that a process dies of."""

    def __init__(self, writer: PointWriter, writes: int) -> None:
        self._writer = writer
        self._left = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def write(self, points: Sequence[Point]) -> frozenset[UUID]:
        """Write, or end."""
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("the process ends")
        return await self._writer.write(points)


def log_of(state: LogState) -> Callable[[], Awaitable[LogState]]:
    """Brokers that tell this of the log."""

    async def ask() -> LogState:
        return state

    return ask


def a_filling(
    writer: PointWriter,
    records: FixedRecords,
    embedder: CountingEmbedder | None = None,
    metrics: MetricSet | None = None,
) -> Filling:
    return Filling(
        writer=writer,
        records=records,  # type: ignore[arg-type]  # only its methods are used
        maker=PointMaker(embedder or CountingEmbedder(), Bm25Encoder(), _COLLECTION),
        retry=Retry(RetrySettings(), FakeClock(), Random(1), Waiting()),
        flood=FloodGuard(DeliverySettings()),
        topic="memory.events",
        metrics=FillMetrics(metrics or MetricSet()),
    )


def _filled_and_left(metrics: MetricSet) -> tuple[float | None, float | None]:
    told = metrics.registry.get_sample_value
    return told("soma_index_filled_memories_total"), told("soma_index_to_fill_memories")


_DROPPED = a_log_state(starts=(40, 7))


async def test_a_fill_that_is_interrupted_goes_on_behind_its_last_page_and_tells_its_tail_at_the_end() -> (
    None
):
    records = FixedRecords([a_state(version=number, text=f"{number}") for number in range(1, 601)])
    interrupted, resumed = MetricSet(), MetricSet()
    async with server_engine(_COLLECTION) as engine:
        with pytest.raises(RuntimeError, match="the process ends"):
            # The header, the beginning of the fill, and one page.
            await a_filling(
                cast("PointWriter", Interrupted(engine.writer, 3)), records, metrics=interrupted
            ).prepare(log_of(_DROPPED))
        between = await held_by(engine.writer, [0, 1])
        first, records.asked = records.asked, []

        held = await a_filling(engine.writer, records, metrics=resumed).prepare(log_of(_DROPPED))

        points = [point for point in (await engine.stored()).values() if TENANT in point.payload]
    assert _filled_and_left(interrupted) == (256, 344)
    assert _filled_and_left(resumed) == (344, 0)
    assert between is not None
    assert between.fill is not None
    assert (between.unfilled, between.fill.filled, between.fill.total) == (True, 256, 600)
    assert between.progress == {}
    assert records.asked[0] == first[-1] == records.states[255].name
    assert held.progress == {0: 90, 1: 7}
    assert not held.unfilled
    assert sorted(point.payload["version"] for point in points) == list(range(1, 601))


async def test_a_record_that_can_never_be_indexed_is_left_out_and_the_rest_is_filled() -> None:
    bad = a_state(version=5, embedding=(1.0, 0.0), embedding_model=_COLLECTION.model)
    gone = MemoryState(MemoryName("acme", a_memory_id()), 8, None, ())
    records = FixedRecords([a_state(version=3), bad, a_state(version=7), gone])
    async with server_engine(_COLLECTION) as engine:
        held = await a_filling(engine.writer, records).prepare(log_of(_DROPPED))

        points = [point for point in (await engine.stored()).values() if TENANT in point.payload]
    assert not held.unfilled
    assert sorted(point.payload["version"] for point in points) == [3, 7, 8]


async def test_a_store_that_stands_beyond_the_end_of_the_log_stops_the_fill() -> None:
    async with server_engine(_COLLECTION) as engine:
        with pytest.raises(LogShorterError, match="PostgreSQL holds partition 0 of the log up to 90"):
            await a_filling(engine.writer, FixedRecords([])).prepare(
                log_of(a_log_state(starts=(40, 7), ends=(50, 50)))
            )


async def test_an_index_is_not_filled_from_a_database_that_is_a_point_in_time() -> None:
    records = FixedRecords([a_state(version=number) for number in range(1, 301)])
    begun = FixedRecords(records.states)
    records.is_live = False
    async with server_engine(_COLLECTION) as engine:
        with pytest.raises(MismatchError, match="a point in time"):
            await a_filling(engine.writer, records).prepare(log_of(_DROPPED))
        untouched = await engine.stored()
        with pytest.raises(RuntimeError, match="the process ends"):
            await a_filling(cast("PointWriter", Interrupted(engine.writer, 3)), begun).prepare(
                log_of(_DROPPED)
            )
        half = await engine.stored()
        with pytest.raises(MismatchError, match="a point in time"):
            await a_filling(engine.writer, records).prepare(log_of(_DROPPED))

        assert await engine.stored() == half != untouched == {}
