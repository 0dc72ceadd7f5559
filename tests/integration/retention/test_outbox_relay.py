"""What is in the outbox reaches memory.expired, the oldest first, and leaves the table only then."""

import pytest

from builders import A_MOMENT, stored
from postgres_tables import expired, rows
from retention_bench import AppliedLog, Bench, KilledError
from soma_schemas.events import ExpiredMemory
from soma_streams.sinks.sessions import Connection, Pool


@pytest.fixture
async def bench(pool: Pool, session: Connection) -> Bench:
    """A relay with 150 last states in the outbox."""
    bench = Bench(AppliedLog(pool), session)
    memories = [stored(text=f"memory {number}", expires_at=A_MOMENT) for number in range(150)]
    await bench.log.tell(*memories, *(expired(memory, A_MOMENT, archive=True) for memory in memories))
    return bench


def relayed(bench: Bench) -> list[ExpiredMemory]:
    return [each for each in bench.log.sent["memory.expired"] if isinstance(each, ExpiredMemory)]


async def test_all_of_it_the_oldest_first(bench: Bench, owner_dsn: str) -> None:
    await bench.relay()
    await bench.relay()

    assert [each.text for each in relayed(bench)] == [f"memory {number}" for number in range(150)]
    assert rows(owner_dsn, "SELECT FROM outbox") == []


async def test_what_nobody_acknowledged_stays(bench: Bench, owner_dsn: str) -> None:
    bench.log.kill_before = 1
    with pytest.raises(KilledError):
        await bench.relay()

    assert len(relayed(bench)) == 100
    assert len(rows(owner_dsn, "SELECT FROM outbox")) == 50


async def test_after_a_crash_it_comes_again_under_the_same_id(bench: Bench, owner_dsn: str) -> None:
    bench.log.kill_after = 0
    with pytest.raises(KilledError):
        await bench.relay()
    bench.log.kill_after = None

    await bench.relay()

    assert len(relayed(bench)) == 250
    assert len({each.event_id for each in relayed(bench)}) == 150
    assert [each.event_id for each in relayed(bench)[:100]] == [
        each.event_id for each in relayed(bench)[100:200]
    ]
    assert rows(owner_dsn, "SELECT FROM outbox") == []
