"""Months of the history are there before their first event, and go when nothing of them can come again."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from structlog.testing import capture_logs

from fakes import FakeClock
from postgres_tables import rows
from soma_schemas.metrics import MetricSet
from soma_schemas.topics import REPLAYABLE
from soma_streams.metrics import RetentionMetrics
from soma_streams.retention.history_months import HistoryMonths
from soma_streams.sinks.sessions import Connection

NOW = datetime(2004, 10, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def history(owner_dsn: str) -> Iterator[None]:
    """Four months that are long past, each with a row; nothing of these years is left behind."""
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        for month in range(1, 5):
            owner.execute("SELECT soma_ensure_history_partition(%s)", [date(2004, month, 1)])
            owner.execute(
                "INSERT INTO memory_history (partition, version, logged_at, outcome)"
                " VALUES (0, 1, %s, 'applied')",
                [datetime(2004, month, 15, tzinfo=UTC)],
            )
        yield
        for name in months(owner_dsn):
            owner.execute(f"DROP TABLE memory_history_{name}".encode())


def months(dsn: str, years: str = "200%") -> list[str]:
    found = rows(
        dsn,
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'memory_history'::regclass AND inhrelid::regclass::text LIKE %(like)s",
        like=f"memory_history_{years}",
    )
    return sorted(row["name"].removeprefix("memory_history_") for row in found)


class Upkeep:
    """The months of the history, with a clock that a test moves."""

    def __init__(self, kept: timedelta | None, replayable: timedelta = REPLAYABLE) -> None:
        self.clock = FakeClock()
        self.clock.advance((NOW - self.clock.now()).total_seconds())
        self.metrics = MetricSet()
        self.asked = 0

        async def asked() -> timedelta:
            self.asked += 1
            return replayable

        self._months = HistoryMonths(
            kept, replayable=asked, clock=self.clock, metrics=RetentionMetrics(self.metrics)
        )

    async def look(self, session: Connection) -> None:
        await self._months.look(session)

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)


async def test_this_month_and_the_next_are_made_and_without_a_setting_none_is_dropped(
    session: Connection, owner_dsn: str
) -> None:
    upkeep = Upkeep(None)

    await upkeep.look(session)

    assert months(owner_dsn) == ["2004_01", "2004_02", "2004_03", "2004_04", "2004_10", "2004_11"]
    assert upkeep.asked == 0


async def test_a_month_goes_when_all_of_it_is_older_than_it_is_kept(
    session: Connection, owner_dsn: str
) -> None:
    kept = timedelta(days=204)  # back to the end of March
    upkeep = Upkeep(kept)

    with capture_logs() as logs:
        await upkeep.look(session)

    assert NOW - kept == datetime(2004, 3, 30, tzinfo=UTC)
    assert months(owner_dsn)[:2] == ["2004_03", "2004_04"]
    assert [each["month"] for each in logs if each["event"] == "history_dropped"] == ["2004-01", "2004-02"]
    assert upkeep.value("soma_retention_history_months_dropped_total") == 2
    assert upkeep.value("soma_retention_history_months") == len(months(owner_dsn, "%"))


async def test_what_the_brokers_can_still_deliver_is_kept_longer_than_the_setting_says(
    session: Connection, owner_dsn: str
) -> None:
    upkeep = Upkeep(REPLAYABLE, replayable=timedelta(days=240))  # back to February

    await upkeep.look(session)

    assert months(owner_dsn)[:3] == ["2004_02", "2004_03", "2004_04"]


async def test_a_month_in_use_is_left_and_no_writer_waits_long_for_it(
    session: Connection, owner_dsn: str, worker_dsn: str
) -> None:
    upkeep = Upkeep(REPLAYABLE)
    with psycopg.connect(worker_dsn) as reader:
        reader.execute("SELECT count(*) FROM memory_history")
        with capture_logs() as logs:
            await upkeep.look(session)
        with psycopg.connect(worker_dsn) as writer:
            writer.execute("SET lock_timeout = '2s'")
            writer.execute(
                "INSERT INTO memory_history (partition, version, logged_at, outcome)"
                " VALUES (0, 2, '2004-10-20Z', 'applied')"
            )
    assert [each["month"] for each in logs if each["event"] == "history_in_use"] == ["2004-01"]
    assert "2004_01" in months(owner_dsn)

    await upkeep.look(session)
    assert "2004_01" in months(owner_dsn)
    upkeep.clock.advance(3600)
    await upkeep.look(session)

    assert months(owner_dsn) == ["2004_10", "2004_11"]


def test_the_database_itself_keeps_what_can_come_again(worker_dsn: str, owner_dsn: str) -> None:
    (today,) = rows(owner_dsn, "SELECT now() AS now")
    edge = (today["now"] - REPLAYABLE).replace(day=1)
    first_kept, last_gone = edge.date(), (edge - timedelta(days=1)).date().replace(day=1)
    with psycopg.connect(worker_dsn, autocommit=True) as worker:
        for month in (first_kept, last_gone):
            worker.execute("SELECT soma_ensure_history_partition(%s)", [month])

        worker.execute("SELECT soma_drop_history_partition(%s)", [last_gone])
        with pytest.raises(psycopg.errors.ObjectInUse):
            worker.execute("SELECT soma_drop_history_partition(%s)", [first_kept])

    assert f"{last_gone:%Y_%m}" not in months(owner_dsn, "%")
    assert f"{first_kept:%Y_%m}" in months(owner_dsn, "%")


def test_no_worker_drops_a_month_by_itself_and_no_reader_at_all(worker_dsn: str, api_dsn: str) -> None:
    with psycopg.connect(worker_dsn) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("DROP TABLE memory_history_2004_01")
    with psycopg.connect(api_dsn) as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("SELECT soma_drop_history_partition('2004-01-01')")


async def test_an_event_of_a_month_that_is_gone_is_filed_again(session: Connection, owner_dsn: str) -> None:
    await Upkeep(REPLAYABLE).look(session)
    assert "2004_01" not in months(owner_dsn)

    await session.execute("SELECT soma_ensure_history_partition('2004-01-15')")
    await session.execute(
        "INSERT INTO memory_history (partition, version, logged_at, outcome)"
        " VALUES (0, 1, '2004-01-15Z', 'superseded')"
    )

    assert rows(owner_dsn, "SELECT outcome FROM memory_history WHERE logged_at < '2004-02-01Z'") == [
        {"outcome": "superseded"}
    ]
