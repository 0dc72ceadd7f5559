"""Reads from a hot standby: what it has replayed is what an answer says, and the primary has the rest."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import httpx
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from structlog.testing import capture_logs

from api_gateway import Gateway, open_gateway
from requested_erasures import ask
from soma_api.metrics import ReadChoice
from soma_api.queries.database import Database, database_pool
from soma_api.query_time import AskedReplica, limited, query_time
from soma_api.roles import Role
from soma_api.settings import ReadReplicaSettings
from soma_schemas.clock import SystemClock
from soma_schemas.versions import Position
from streaming_standby import Server, standby_of, streaming_replication
from waiting import eventually, eventually_so

LOCKED = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"

FOLLOWED = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'soma_api' AND query LIKE '%replay_lsn%'"


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """A primary and its standby."""
    with streaming_replication() as running:
        yield running


@pytest.fixture
def primary(servers: tuple[Server, Server]) -> Server:
    return servers[0]


@pytest.fixture
def standby(servers: tuple[Server, Server]) -> Server:
    return servers[1]


@asynccontextmanager
async def served_by(
    primary: Server, *replicas: Server, max_lag: timedelta = timedelta(seconds=120)
) -> AsyncIterator[Gateway]:
    """The API with replicas; a long lag is allowed, so that tests see what it costs."""
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in replicas)
    async with open_gateway(
        primary.settings("soma_api"),
        worker_dsn=primary.dsn("soma_worker"),
        owner_dsn=primary.dsn(),
        read_replicas=ReadReplicaSettings(hosts=hosts, max_lag=max_lag),
        clock=SystemClock(),
    ) as served:
        served.ends.offsets = {0: 0}
        tasks = [asyncio.create_task(each.run()) for each in (served.freshness, served.replicas)]
        try:
            yield served
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@pytest.fixture
async def gateway(primary: Server, standby: Server) -> AsyncIterator[Gateway]:
    """The API with the standby as its replica."""
    async with served_by(primary, standby) as served:
        yield served


def pool_of(server: Server) -> AbstractAsyncContextManager[AsyncConnectionPool]:
    return database_pool(server.settings("soma_api"), timedelta(minutes=1))


def lock_on_both(primary: Server, holder: psycopg.Connection, table: str) -> None:
    """Lock a table as nobody may read it, there and, as soon as it is replayed, on standbys."""
    holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
    primary.execute("SELECT pg_switch_wal()")  # standbys have all until here


def restarted(standby: Server) -> int:
    """Have a standby make a restartpoint, and return the timeline of that."""
    standby.execute("CHECKPOINT")
    return standby.number("SELECT timeline_id FROM pg_control_checkpoint()")


def chosen(gateway: Gateway, choice: ReadChoice) -> float:
    """How often so was chosen."""
    reads = gateway.application.state.services.metrics.of_process
    text = reads.exposition("").body.decode()
    wanted = f'soma_api_record_reads_total{{choice="{choice}"}} '
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted)), 0.0)


async def listed(gateway: Gateway, **headers: str) -> httpx.Response:
    return await gateway.client.get("/v1/memories", headers=headers)


async def from_replica(gateway: Gateway, memories: int) -> httpx.Response:
    """List until the replica has so many."""

    async def ask() -> tuple[httpx.Response, bool]:
        before = chosen(gateway, ReadChoice.REPLICA)
        answer = await listed(gateway)
        return answer, chosen(gateway, ReadChoice.REPLICA) > before

    def fits(found: tuple[httpx.Response, bool]) -> bool:
        return found[1] and len(found[0].json()["memories"]) == memories

    return (await eventually(ask, fits))[0]


async def test_the_replica_answers_and_what_it_has_not_replayed_is_not_there(
    gateway: Gateway, standby: Server
) -> None:
    gateway.given_memory()
    assert float((await from_replica(gateway, 1)).headers["soma-staleness"]) < 60

    standby.execute("SELECT pg_wal_replay_pause()")
    gateway.given_memory()

    assert len((await listed(gateway)).json()["memories"]) == 1


async def test_a_position_that_is_not_replayed_is_read_from_the_primary(
    gateway: Gateway, standby: Server
) -> None:
    await from_replica(gateway, 0)
    standby.execute("SELECT pg_wal_replay_pause()")
    gateway.given_memory()
    gateway.settle(Position(0, 0))

    answer = await listed(gateway, **{"Soma-Position": "0:0"})

    assert len(answer.json()["memories"]) == 1
    assert chosen(gateway, ReadChoice.POSITION) == 1


async def test_a_replica_that_stops_replaying_grows_stale_and_is_refused_where_less_is_accepted(
    gateway: Gateway, standby: Server
) -> None:
    await from_replica(gateway, 0)
    standby.execute("SELECT pg_wal_replay_pause()")
    gateway.given_memory()

    async def staleness() -> float:
        return float((await listed(gateway)).headers["soma-staleness"])

    await eventually(staleness, lambda seconds: seconds > 2)
    fresh = await listed(gateway, **{"Soma-Max-Staleness": "1.9"})
    gateway.ends.offsets = {0: 1}  # and the sink is behind

    assert (fresh.status_code, len(fresh.json()["memories"])) == (200, 1)
    assert chosen(gateway, ReadChoice.STALENESS) == 1

    async def refused() -> httpx.Response:
        return await listed(gateway, **{"Soma-Max-Staleness": "1.9"})

    answer = await eventually(refused, lambda found: found.status_code == 503)
    assert answer.json()["code"] == "too_stale"


async def test_the_primary_answers_when_the_replica_has_ended(gateway: Gateway, standby: Server) -> None:
    gateway.given_memory()
    await from_replica(gateway, 1)

    standby.stop()

    assert len((await listed(gateway)).json()["memories"]) == 1


async def test_the_primary_answers_a_question_that_recovery_cancels(
    gateway: Gateway, primary: Server, standby: Server
) -> None:
    await from_replica(gateway, 0)
    standby.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    standby.execute("SELECT pg_reload_conf()")
    asked = "SELECT count(*) FROM memory_links CROSS JOIN memories"
    failures: list[None] = []

    async with (
        pool_of(primary) as of_primary,
        pool_of(standby) as of_standby,
        asyncio.TaskGroup() as tasks,
    ):
        with limited(timedelta(minutes=1)), psycopg.connect(primary.dsn()) as holder:
            time = query_time()
            assert time is not None
            time.replica = AskedReplica(of_standby, 0, 1, lambda: failures.append(None))
            # Has the question wait for its second table, with the first in hand.
            lock_on_both(primary, holder, "memories")
            await eventually_so(lambda: standby.number(LOCKED))
            answer = tasks.create_task(Database(of_primary, by_replicas=True).rows("a", asked, {}))
            await eventually_so(lambda: standby.number(WAITING))
            # And then the standby wants the first.
            lock_on_both(primary, holder, "memory_links")
            await eventually_so(lambda: len(failures))
            holder.rollback()

            assert await answer == [(0,)]
    assert standby.number("SELECT confl_lock FROM pg_stat_database_conflicts WHERE datname = 'soma'") == 1


async def test_no_read_shows_what_an_erasure_selects_once_its_request_was_answered(
    primary: Server, standby: Server
) -> None:
    async with served_by(primary, standby, max_lag=timedelta(seconds=1)) as gateway:
        gateway.given_memory(subject="mira")
        await from_replica(gateway, 1)
        standby.execute("SELECT pg_wal_replay_pause()")
        admin = {"Authorization": f"Bearer {gateway.a_key(Role.ADMIN).reveal()}"}

        assert (await ask(gateway, {"subject": "mira"}, admin)).status_code == 202

        assert (await listed(gateway)).json()["memories"] == []
        assert chosen(gateway, ReadChoice.REPLICA_BEHIND) == 1


async def test_a_standby_of_another_primary_is_asked_nothing(primary: Server) -> None:
    with streaming_replication() as (_, other), capture_logs() as logs:
        async with served_by(primary, other) as gateway:
            gateway.given_memory()
            await eventually_so(lambda: [each for each in logs if each.get("error") == "_NoReplicaError"])

            assert len((await listed(gateway)).json()["memories"]) == 1
            assert gateway.replicas.lags() == []


async def test_a_standby_that_was_promoted_is_asked_nothing(gateway: Gateway, standby: Server) -> None:
    gateway.given_memory()
    await from_replica(gateway, 1)

    standby.promote()
    standby.execute("DELETE FROM memories")

    assert len((await listed(gateway)).json()["memories"]) == 1
    await eventually_so(gateway.replicas.lags, lambda found: not found)


async def test_after_a_promotion_only_those_are_asked_that_surely_follow_it(
    primary: Server, standby: Server
) -> None:
    with standby_of(standby) as follower:
        standby.stop()
        primary.execute("CREATE TABLE lost AS SELECT generate_series(1, 100000) AS number")
        primary.stop()
        standby.start()
        standby.promote()
        former = primary
        former.start_as_standby_of_nobody()
        written = standby.number("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        await eventually_so(
            lambda: former.number("SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn"),
            lambda replayed: replayed > written,
        )

        async with served_by(standby, former, follower) as gateway:
            await eventually_so(lambda: former.number(FOLLOWED) and follower.number(FOLLOWED))
            gateway.given_memory()
            assert len((await listed(gateway)).json()["memories"]) == 1
            assert gateway.replicas.lags() == []

            standby.execute("CHECKPOINT")
            await eventually_so(lambda: restarted(follower), lambda timeline: timeline == 2)
            answers = [await from_replica(gateway, 1) for _ in range(4)]

            assert [len(answer.json()["memories"]) for answer in answers] == [1] * 4
            assert [name for (name,), _ in gateway.replicas.lags()] == [f"127.0.0.1:{follower.port}"]
            assert chosen(gateway, ReadChoice.REPLICA_FAILED) == 0
