"""Who answers a read: the choice alone, for what is known of replicas."""

from collections.abc import Sequence
from datetime import timedelta
from typing import cast

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from fakes import FakeClock
from soma_api.freshness import Freshness, LogEnds
from soma_api.metrics import ApiMetrics, ReadChoice
from soma_api.query_time import limited, query_time
from soma_api.read_replicas import Mark, ReadReplica, ReadReplicas, ReplicaUnusableError
from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas.metrics import MetricSet
from soma_schemas.versions import Position, pack_version

NOW = FakeClock().monotonic()
POOL = cast("AsyncConnectionPool", object())


class Counts:
    """What was counted of reads."""

    def __init__(self) -> None:
        self._metrics = MetricSet()
        self.api = ApiMetrics(self._metrics)

    def by_choice(self) -> dict[str, int]:
        name, lines = "soma_api_record_reads_total", self._metrics.exposition("").body.decode().splitlines()
        found = [line.removeprefix(f'{name}{{choice="').split('"} ') for line in lines if f"{name}{{" in line]
        return {choice: int(float(count)) for choice, count in found if float(count)}


def mark(*, age: float = 0.5, staleness: float | None = 1.0, settled: int = 10, lsn: int = 700) -> Mark:
    """What a replica has that is so many seconds behind."""
    return Mark(
        taken=NOW - age,
        lsn=lsn,
        timeline=3,
        complete_at=None if staleness is None else NOW - staleness,
        epoch=1,
        settled={0: pack_version(1, settled)},
    )


async def nowhere() -> psycopg.AsyncConnection:
    raise AssertionError("nobody connects")


def replicas_with(counts: Counts, marks: Sequence[Mark | None]) -> ReadReplicas:
    clock, waiter = FakeClock(), WatermarkWaiter()
    return ReadReplicas(
        [
            ReadReplica(name=f"standby-{number}:5432", connect=nowhere, pool=POOL, mark=each)
            for number, each in enumerate(marks)
        ],
        connect=nowhere,
        waiter=waiter,
        freshness=Freshness(cast("LogEnds", object()), waiter, clock),
        clock=clock,
        max_lag=5.0,
        metrics=counts.api,
    )


@pytest.mark.parametrize(
    ("marks", "max_staleness", "choice"),
    [
        ([mark()], None, ReadChoice.REPLICA),
        ([mark(age=5.0)], None, ReadChoice.REPLICA),
        ([mark(staleness=1.0)], 1.0, ReadChoice.REPLICA),
        ([mark(staleness=None)], None, ReadChoice.REPLICA),
        ([None], None, ReadChoice.REPLICA_AWAY),
        ([mark(age=5.1)], None, ReadChoice.REPLICA_BEHIND),
        ([mark(settled=5)], None, ReadChoice.POSITION),
        ([mark(staleness=1.1)], 1.0, ReadChoice.STALENESS),
        ([mark(staleness=None)], 60.0, ReadChoice.STALENESS),
        ([None, mark(age=6.0), mark()], None, ReadChoice.REPLICA),
        ([None, mark(settled=5), mark(age=6.0)], None, ReadChoice.POSITION),
    ],
)
async def test_a_replica_is_asked_that_fits_the_request(
    marks: list[Mark | None], max_staleness: float | None, choice: ReadChoice
) -> None:
    counts = Counts()
    with limited(timedelta(seconds=1)):
        found = replicas_with(counts, marks).choose([Position(0, 5)], max_staleness)
        time = query_time()

    assert counts.by_choice() == {choice: 1}
    assert (found is None) == (choice is not ReadChoice.REPLICA)
    assert time is not None
    assert (None if time.replica is None else (time.replica.lsn, time.replica.timeline)) == (
        None if found is None else (700, 3)
    )


async def test_replicas_take_turns() -> None:
    replicas = replicas_with(Counts(), [mark(lsn=1), mark(lsn=2), mark(age=6.0, lsn=3)])
    asked = []
    for _ in range(6):
        with limited(timedelta(seconds=1)):
            found = replicas.choose([], None)
        asked.append(None if found is None else found.lsn)

    assert set(asked) == {1, 2}


async def test_without_replicas_nothing_is_counted_and_no_request_for_erasure_waits() -> None:
    counts = Counts()
    replicas = replicas_with(counts, [])
    with limited(timedelta(seconds=1)):
        assert replicas.choose([], None) is None

    assert (counts.by_choice(), replicas.hides_after) == ({}, 0.0)


async def test_the_staleness_is_that_of_what_was_replayed() -> None:
    replicas = replicas_with(Counts(), [mark()])

    assert replicas.staleness(mark(staleness=2.5)) == 2.5
    assert replicas.staleness(mark(staleness=None)) is None
    assert replicas.hides_after == 5.0


async def test_the_api_is_whole_when_every_replica_may_be_asked() -> None:
    await replicas_with(Counts(), [mark(), mark(age=5.0)]).require_usable()

    for each in (None, mark(age=5.1)):
        with pytest.raises(ReplicaUnusableError, match="standby-1:5432"):
            await replicas_with(Counts(), [mark(), each]).require_usable()
