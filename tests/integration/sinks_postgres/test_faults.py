"""What a fault in the middle of a write leaves behind: nothing, and a sink that goes on."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import psycopg
import pytest

from builders import a_log, an_id, linked, logged, patched, stored
from conftest import LocalParts
from postgres_tables import A_GROUP, a_dead_letter, deliver, history, memories, rows, tables
from soma_cli.local.postgres import Login
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.state import Watermark
from soma_streams.sinks import watermarks
from soma_streams.sinks.postgres import PostgresSink
from soma_streams.sinks.sessions import Connection, Pool

NOTHING: dict[str, list[dict[str, object]]] = {
    "memories": [],
    "memory_history": [],
    "memory_links": [],
    "sink_watermarks": [],
}
BATCH = [stored(key="a"), stored(key="b")]

Advance = Callable[[Connection, Collection[Watermark]], Awaitable[None]]


@pytest.fixture
def admin_dsn(local_parts: LocalParts) -> str:
    """A login that may end the sessions of others."""
    return local_parts.parts.postgres.dsn(Login.ADMIN)


def end_backend(admin_dsn: str, connection: Connection) -> None:
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])


def meanwhile(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Connection], None], *, before: bool) -> None:
    """Have a fault happen once, before or after the watermark moves; the rows are merged by then."""
    faults = [fault]

    async def advance(connection: Connection, marks: Collection[Watermark]) -> None:
        if before and faults:
            faults.pop()(connection)
        await watermarks.advance(connection, marks)
        if not before and faults:
            faults.pop()(connection)

    monkeypatch.setattr("soma_streams.sinks.postgres.postgres_sink.advance", advance)


@pytest.mark.parametrize("before_the_watermark", [True, False])
async def test_a_backend_that_dies_in_the_middle_leaves_nothing_and_the_next_try_succeeds(
    sink: PostgresSink,
    owner_dsn: str,
    admin_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    before_the_watermark: bool,
) -> None:
    batch = a_log([*BATCH, linked(BATCH[0], BATCH[1].memory_id)])
    meanwhile(monkeypatch, lambda connection: end_backend(admin_dsn, connection), before=before_the_watermark)

    with pytest.raises(psycopg.OperationalError) as loss:
        await deliver(sink, batch)

    assert classify(loss.value) is FailureClass.TRANSIENT
    assert tables(owner_dsn) == NOTHING
    await deliver(sink, batch)
    assert [len(found) for found in tables(owner_dsn).values()] == [2, 3, 1, 1]


async def test_a_write_that_is_cancelled_leaves_nothing_and_the_next_try_succeeds(
    sink: PostgresSink, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = a_log(BATCH)
    reached = asyncio.Event()

    async def never(connection: Connection, marks: Collection[Watermark]) -> None:
        del connection, marks
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr("soma_streams.sinks.postgres.postgres_sink.advance", never)
        writing = asyncio.create_task(deliver(sink, batch))
        await reached.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    assert tables(owner_dsn) == NOTHING
    await deliver(sink, batch)
    assert len(memories(owner_dsn)) == 2


async def test_a_write_that_is_cancelled_while_the_server_works_leaves_nothing(
    sink: PostgresSink, owner_dsn: str
) -> None:
    batch = a_log(BATCH)
    with psycopg.connect(owner_dsn) as blocker:
        blocker.execute("LOCK TABLE memories IN SHARE MODE")  # reading goes on, writing waits
        writing = asyncio.create_task(deliver(sink, batch))
        await until_blocked(owner_dsn)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    assert tables(owner_dsn) == NOTHING
    await deliver(sink, batch)
    assert len(memories(owner_dsn)) == 2


async def until_blocked(dsn: str, sessions: int = 1) -> None:
    """Return when that many sessions wait for a lock."""
    query = "SELECT count(DISTINCT pid) AS waiting FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(60):
        while (await asyncio.to_thread(rows, dsn, query))[0]["waiting"] < sessions:
            pass


async def test_what_a_predecessor_wrote_is_guarded_without_a_read(sink: PostgresSink, owner_dsn: str) -> None:
    newer, older = logged(stored(key="a", text="newer"), 7), logged(stored(key="a", text="older"), 3)
    other = logged(stored(key="b"), 4)
    await deliver(sink, [newer])

    settled = await deliver(sink, [older, other])

    assert [each.reason for each in settled] == [SupersededReason.OLDER, None]
    assert {state.version for state in memories(owner_dsn).values()} == {newer.version, other.version}
    assert history(owner_dsn) == {
        (0, newer.version): (Outcome.APPLIED, None),
        (0, older.version): (Outcome.SUPERSEDED, SupersededReason.OLDER),
        (0, other.version): (Outcome.APPLIED, None),
    }


async def test_a_batch_whose_history_alone_is_known_is_written_under_guard(
    sink: PostgresSink, owner_dsn: str
) -> None:
    absent = logged(patched(an_id(), text="changes nothing"), 0)
    await deliver(sink, [absent])

    await deliver(sink, [absent, logged(stored(key="a"), 1)])

    assert [len(found) for found in tables(owner_dsn).values()] == [1, 2, 0, 1]


async def test_two_workers_whose_batches_overlap_in_opposite_orders_do_not_deadlock(
    pool: Pool, owner_dsn: str
) -> None:
    keys = [f"k{number}" for number in range(9)]
    first, second = PostgresSink(pool, "first"), PostgresSink(pool, "second")
    await deliver(first, a_log([stored(key=key) for key in keys]))
    forward = [logged(stored(key=key), 100 + place) for place, key in enumerate(keys)]
    backward = [logged(stored(key=key), 200 + place) for place, key in enumerate(reversed(keys))]

    with psycopg.connect(owner_dsn) as blocker:
        blocker.execute("SELECT FROM memories WHERE key = 'k4' FOR UPDATE")
        writing = asyncio.gather(deliver(first, forward), deliver(second, backward))
        await until_blocked(owner_dsn, sessions=2)
        blocker.rollback()
        await writing

    assert {state.version for state in memories(owner_dsn).values()} == {each.version for each in backward}


async def test_an_error_in_the_history_takes_the_states_back_with_it(
    sink: PostgresSink, owner_dsn: str
) -> None:
    absent = patched(an_id(), text="changes nothing, so only its history is written")
    unkeepable = absent.model_copy(update={"actor": "nul \0 inside"})

    with pytest.raises(psycopg.DataError) as refusal:
        await deliver(sink, a_log([stored(key="a"), unkeepable]))

    assert classify(refusal.value) is FailureClass.POISON
    assert tables(owner_dsn) == NOTHING


async def test_a_missing_table_is_systemic_and_passes_through(sink: PostgresSink, owner_dsn: str) -> None:
    await deliver(sink, [logged(stored(key="a"), 0)])
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute("ALTER TABLE memory_history RENAME TO moved")
        try:
            with pytest.raises(psycopg.errors.UndefinedTable) as error:
                await deliver(sink, [logged(stored(key="a"), 1)])
        finally:
            owner.execute("ALTER TABLE moved RENAME TO memory_history")

    assert classify(error.value) is FailureClass.SYSTEMIC
    await deliver(sink, [logged(stored(key="a"), 1)])


async def test_two_sinks_that_write_the_same_batch_at_once_write_it_once(pool: Pool, owner_dsn: str) -> None:
    batch = a_log([*BATCH, linked(BATCH[0], BATCH[1].memory_id)])
    dead = [a_dead_letter(logged(stored(), 3))]

    await asyncio.gather(*(deliver(PostgresSink(pool, A_GROUP), batch, dead) for _ in range(3)))

    assert [len(found) for found in tables(owner_dsn).values()] == [2, 4, 1, 1]
    assert {row["outcome"] for row in rows(owner_dsn, "SELECT outcome FROM memory_history")} == {
        "applied",
        "dead_lettered",
    }
