"""A namespace keeps as many memories as it may: the least important go first, and are told of before."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from builders import A_MOMENT, cap_set, deleted, patched, policy_set, stored
from postgres_tables import rows
from retention_bench import AppliedLog, Bench, KilledError, expiries, living, notices
from soma_schemas.events import MemoryExpired, MemoryStored
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_streams.settings import RetentionSettings
from soma_streams.sinks.sessions import Connection, Pool

# Long after the log receives the events of a test; each comes a second after the one before.
NOW = A_MOMENT + timedelta(days=30)
HOUR = timedelta(hours=1)


@pytest.fixture
async def bench(pool: Pool, session: Connection) -> Bench:
    """The sweeper on the real tables."""
    return a_bench(pool, session)


def a_bench(pool: Pool, session: Connection, **settings: Any) -> Bench:
    bench = Bench(AppliedLog(pool), session, RetentionSettings.model_validate(settings))
    bench.clock.advance((NOW - bench.clock.now()).total_seconds())
    return bench


def weighed(*importances: float, namespace: str = "team") -> list[MemoryStored]:
    """Memories whose text is their place in the order of arrival."""
    return [
        stored(namespace=namespace, importance=importance, text=f"{namespace} {number}")
        for number, importance in enumerate(importances)
    ]


async def test_the_least_important_go_first_and_of_those_the_oldest(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(cap_set("team", max_memories=3, archive=True))
    told = weighed(0.9, 0.2, 0.2, 0.1, 0.2)
    await bench.log.tell(*told)

    await bench.sweep()

    assert living(owner_dsn) == {"team 0", "team 2", "team 4"}
    assert {each.memory_id for each in expiries(bench)} == {told[1].memory_id, told[3].memory_id}
    assert all(each.updated_at is not None and each.archive for each in expiries(bench))
    assert len(rows(owner_dsn, "SELECT FROM outbox")) == 2


async def test_each_namespace_is_counted_by_itself_and_the_nearest_cap_decides(
    bench: Bench, owner_dsn: str
) -> None:
    await bench.log.set_policy(cap_set(max_memories=1))
    await bench.log.set_policy(cap_set("team", max_memories=2))
    # A rule alone caps nothing, and takes no cap from above away.
    await bench.log.set_policy(policy_set("team/a", ttl_seconds=10**9))
    for namespace in ("team", "team/a", "other"):
        await bench.log.tell(*weighed(0.1, 0.2, 0.3, namespace=namespace))

    await bench.sweep()

    assert living(owner_dsn) == {"team 1", "team 2", "team/a 1", "team/a 2", "other 2"}


async def test_a_deadline_of_its_own_keeps_no_memory_above_a_cap(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(cap_set("team", max_memories=1))
    own = stored(namespace="team", importance=0.1, text="own", expires_at=NOW + HOUR)
    await bench.log.tell(own, stored(namespace="team", importance=0.2, text="stays"))

    await bench.sweep()

    assert living(owner_dsn) == {"stays"}
    assert [each.expires_at for each in expiries(bench)] == [NOW + HOUR]


async def test_what_ends_by_its_deadline_leaves_room_first(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(cap_set("team", max_memories=1))
    ended = stored(namespace="team", importance=0.9, text="ended", expires_at=NOW - HOUR)
    await bench.log.tell(ended, stored(namespace="team", importance=0.1, text="stays"))

    await bench.sweep()

    assert living(owner_dsn) == {"stays"}


async def test_with_a_notice_a_memory_is_told_of_once_and_ends_when_its_time_is_over(
    bench: Bench, owner_dsn: str
) -> None:
    await bench.log.set_policy(cap_set("team", max_memories=1, notice_seconds=3600))
    least, _ = told = weighed(0.1, 0.2)
    await bench.log.tell(*told)

    for _ in range(3):
        await bench.sweep()
        bench.clock.advance(1100)
    assert living(owner_dsn) == {"team 0", "team 1"}
    assert [(each.memory_id, each.expires_at) for each in notices(bench)] == [(least.memory_id, NOW + HOUR)]

    bench.clock.advance(300)
    await bench.sweep()

    assert living(owner_dsn) == {"team 1"}
    assert [each.expires_at for each in expiries(bench)] == [NOW + HOUR]
    assert rows(owner_dsn, "SELECT FROM retention_notices") == []


async def test_what_waits_is_gone_through_a_hundred_times_in_its_period_and_whoever_comes_has_all_of_it(
    bench: Bench, session: Connection
) -> None:
    await bench.log.set_policy(cap_set("team", max_memories=1, notice_seconds=3600))
    await bench.log.tell(*weighed(0.1, 0.2))
    sweeper = bench.sweeper()
    await sweeper.sweep(session)
    await bench.log.tell(*weighed(0.05))

    bench.clock.advance(35)
    await sweeper.sweep(session)
    assert len(notices(bench)) == 1
    bench.clock.advance(2)
    await sweeper.sweep(session)

    # The pace that is kept moves the clock by less than a second.
    ends_after = [(each.expires_at - NOW) // timedelta(seconds=1) for each in notices(bench)]
    assert ends_after == [3600, 3637]
    bench.clock.advance(3600 - 37)
    await sweeper.sweep(session)
    assert len(expiries(bench)) == 1


async def test_what_changes_after_the_notice_is_told_of_again(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(cap_set("team", max_memories=1, notice_seconds=3600))
    least, other = weighed(0.1, 0.2)
    await bench.log.tell(least, other)
    await bench.sweep()

    await bench.log.tell(patched(least, tags=["new"]))
    bench.clock.advance(3600)
    await bench.sweep()

    assert living(owner_dsn) == {"team 0", "team 1"}
    first, again = notices(bench)
    assert first.memory_id == again.memory_id == least.memory_id
    assert again.expires_at - first.expires_at >= HOUR
    assert first.event_id != again.event_id


async def test_what_is_not_above_the_cap_any_more_stays_though_it_was_told_of(
    bench: Bench, owner_dsn: str
) -> None:
    await bench.log.set_policy(cap_set("team", max_memories=1, notice_seconds=3600))
    least, other = weighed(0.1, 0.2)
    await bench.log.tell(least, other)
    await bench.sweep()

    await bench.log.tell(deleted(other))
    bench.clock.advance(3600)
    await bench.sweep()

    assert living(owner_dsn) == {"team 0"}
    assert expiries(bench) == []
    assert rows(owner_dsn, "SELECT FROM retention_notices") == []


async def test_what_changes_between_the_look_and_the_log_lives_on(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(cap_set("team", max_memories=1))
    least, other = weighed(0.1, 0.2)
    await bench.log.tell(least, other)

    bench.log.meanwhile = lambda: bench.log.tell(patched(least, importance=0.9))
    await bench.sweep()

    assert "team 0" in living(owner_dsn)
    ends = [each for each in bench.log.settled if isinstance(each.logged.event, MemoryExpired)]
    assert ends[0].reason is SupersededReason.DEADLINE_MOVED


async def test_a_cap_that_is_lifted_while_a_sweep_runs_ends_nothing_more(
    pool: Pool, session: Connection, owner_dsn: str
) -> None:
    bench = a_bench(pool, session, page_memories=1)
    await bench.log.set_policy(cap_set(max_memories=1))
    await bench.log.tell(*weighed(0.1, 0.2, 0.3, 0.4))

    bench.log.meanwhile = bench.log.lift_policy
    await bench.sweep()

    # The page that was on its way when the policy was lifted is the only one.
    assert living(owner_dsn) == {"team 1", "team 2", "team 3"}


@pytest.mark.parametrize("notice", [0, 60])
async def test_more_than_a_page_goes_in_one_sweep_and_no_more_than_is_above(
    pool: Pool, session: Connection, owner_dsn: str, notice: int
) -> None:
    bench = a_bench(pool, session, page_memories=3)
    await bench.log.set_policy(cap_set("team", max_memories=10, notice_seconds=notice))
    await bench.log.tell(*weighed(*(number / 100 for number in range(21))))

    await bench.sweep()
    bench.clock.advance(notice)
    await bench.sweep()

    assert living(owner_dsn) == {f"team {number}" for number in range(11, 21)}
    assert len(expiries(bench)) == 11
    assert len(notices(bench)) == (11 if notice else 0)


@pytest.mark.parametrize("sends", range(4))
@pytest.mark.parametrize("side", ["before", "after"])
async def test_killed_before_or_after_any_publication_no_more_goes_than_is_above(
    pool: Pool, session: Connection, owner_dsn: str, sends: int, side: str
) -> None:
    bench = a_bench(pool, session, page_memories=1)
    await bench.log.set_policy(cap_set("now", max_memories=1))
    await bench.log.set_policy(cap_set("later", max_memories=1, notice_seconds=600))
    for namespace in ("now", "later"):
        await bench.log.tell(*weighed(0.1, 0.2, 0.3, namespace=namespace))

    setattr(bench.log, f"kill_{side}", sends)
    with pytest.raises(KilledError):
        await bench.sweep()
    bench.log.kill_before = bench.log.kill_after = None
    await bench.sweep()

    assert living(owner_dsn) == {"now 2", "later 0", "later 1", "later 2"}
    assert len({each.event_id for each in notices(bench)}) == 2
    bench.clock.advance(600)
    await bench.sweep()

    assert living(owner_dsn) == {"now 2", "later 2"}
    ends = [each for each in bench.log.settled if isinstance(each.logged.event, MemoryExpired)]
    assert [each.outcome for each in ends].count(Outcome.APPLIED) == 4


async def test_a_full_namespace_takes_what_comes_and_gives_what_matters_least(
    bench: Bench, owner_dsn: str
) -> None:
    await bench.log.set_policy(cap_set("team", max_memories=2))
    held: list[set[str]] = []
    for number, importance in enumerate((0.5, 0.1, 0.3, 0.2, 0.9)):
        await bench.log.tell(stored(namespace="team", importance=importance, text=str(number)))
        await bench.sweep()
        held.append(living(owner_dsn))

    assert held == [{"0"}, {"0", "1"}, {"0", "2"}, {"0", "2"}, {"0", "4"}]
    assert all(len(after - before) <= 1 for before, after in pairwise(held))
