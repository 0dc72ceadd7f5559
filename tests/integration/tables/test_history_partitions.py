"""A partition of the history for every month, made when it is needed, by whoever needs it first."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta

import psycopg
import pytest

from postgres_tables import rows
from soma_schemas.moments import FIRST_LOGGED, LAST_LOGGED
from soma_streams.delivery.failures import FailureClass, classify

PARTITIONS = """
SELECT inhrelid::regclass::text AS name, pg_get_expr(relpartbound, inhrelid) AS bounds
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'memory_history'::regclass AND inhrelid::regclass::text LIKE %(like)s
"""


def ensure(dsn: str, month: date, time_zone: str = "UTC") -> None:
    with psycopg.connect(dsn) as worker:
        worker.execute("SELECT set_config('TimeZone', %s, false)", [time_zone])
        worker.execute("SELECT soma_ensure_history_partition(%s)", [month])


def partitions(dsn: str, like: str) -> dict[str, str]:
    return {row["name"]: row["bounds"] for row in rows(dsn, PARTITIONS, like=like)}


def test_callers_that_race_make_one_partition(worker_dsn: str, owner_dsn: str) -> None:
    months = [date(2041, month, 15) for month in range(1, 13) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda month: ensure(worker_dsn, month), months))

    assert len(partitions(owner_dsn, "memory_history_2041%")) == 12


@pytest.mark.parametrize("time_zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_month_begins_and_ends_in_utc(worker_dsn: str, owner_dsn: str, time_zone: str) -> None:
    month = date(2042, 12, 31)

    ensure(worker_dsn, month, time_zone)

    assert partitions(owner_dsn, "memory_history_2042%") == {
        "memory_history_2042_12": "FOR VALUES FROM ('2042-12-01 00:00:00+00') TO ('2043-01-01 00:00:00+00')"
    }
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute("DROP TABLE memory_history_2042_12")


@pytest.mark.parametrize(
    "month",
    [
        date(1970, 1, 1),
        FIRST_LOGGED.date() - timedelta(days=1),
        LAST_LOGGED.date() + timedelta(days=1),
        date(9999, 12, 1),
    ],
)
def test_a_month_in_which_no_event_can_have_been_logged_is_refused_as_the_fault_of_the_event(
    worker_dsn: str, month: date
) -> None:
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow) as refusal:
        ensure(worker_dsn, month)

    assert classify(refusal.value) is FailureClass.POISON


@pytest.mark.parametrize("moment", [FIRST_LOGGED, LAST_LOGGED])
def test_every_time_at_which_an_event_can_have_been_logged_has_a_month(
    worker_dsn: str, owner_dsn: str, moment: datetime
) -> None:
    ensure(worker_dsn, moment.date())

    name = f"memory_history_{moment:%Y_%m}"
    assert partitions(owner_dsn, name)
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute(f"DROP TABLE {name}".encode())


def test_making_a_month_waits_for_no_writer_and_no_reader_of_another(worker_dsn: str, api_dsn: str) -> None:
    ensure(worker_dsn, date(2043, 1, 1))
    with psycopg.connect(worker_dsn) as writer, psycopg.connect(api_dsn) as reader:
        writer.execute(
            "INSERT INTO memory_history (partition, version, logged_at, outcome)"
            " VALUES (0, 1, '2043-01-02Z', 'applied')"
        )
        reader.execute("SELECT count(*) FROM memory_history")

        with psycopg.connect(worker_dsn) as maker:
            maker.execute("SET lock_timeout = '2s'")
            maker.execute("SELECT soma_ensure_history_partition('2043-02-01')")

        writer.rollback()


def test_a_month_whose_maker_fails_is_made_by_the_next(worker_dsn: str, owner_dsn: str) -> None:
    with psycopg.connect(worker_dsn) as maker:
        maker.execute("SELECT soma_ensure_history_partition('2044-01-01')")
        maker.rollback()
    assert partitions(owner_dsn, "memory_history_2044%") == {}

    ensure(worker_dsn, date(2044, 1, 1))

    assert list(partitions(owner_dsn, "memory_history_2044%")) == ["memory_history_2044_01"]
