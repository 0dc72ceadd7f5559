"""Memories end at their deadline, once, and whoever wants to know is told before."""

from datetime import timedelta

import pytest

from builders import A_MOMENT, patched, policy_set, stored
from postgres_tables import accessed, memories, rows
from retention_bench import AppliedLog, Bench, KilledError, at, expiries, living, notices
from soma_schemas.events import MemoryEvent, MemoryExpired
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_streams.settings import RetentionSettings
from soma_streams.sinks.sessions import Connection, Pool

# When the log receives the first event of a test; each one more is a second later.
LOGGED = A_MOMENT + timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
async def bench(pool: Pool, session: Connection) -> Bench:
    """The sweeper on the real tables; it is an hour before anything is logged."""
    bench = Bench(AppliedLog(pool), session)
    at(bench, LOGGED - HOUR)
    return bench


async def test_a_memory_ends_at_its_own_deadline_and_not_before(bench: Bench, owner_dsn: str) -> None:
    deadline = LOGGED + HOUR
    await bench.log.tell(
        stored(text="ends", expires_at=deadline),
        stored(text="later", expires_at=deadline + timedelta(microseconds=1)),
        stored(text="never"),
    )

    at(bench, deadline - timedelta(microseconds=1))
    await bench.sweep()
    assert living(owner_dsn) == {"ends", "later", "never"}

    at(bench, deadline)
    await bench.sweep()
    assert living(owner_dsn) == {"later", "never"}
    assert [(each.expires_at, each.updated_at) for each in expiries(bench)] == [(deadline, None)]


async def test_a_policy_ends_what_has_not_changed_for_its_time(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(policy_set("team", ttl_seconds=3600, archive=True))
    old, changed = stored(namespace="team/a", text="old"), stored(namespace="team/a", text="changed")
    await bench.log.tell(
        old,
        changed,
        stored(namespace="other", text="elsewhere"),
        stored(namespace="team", text="own", expires_at=LOGGED + 9 * HOUR),
        patched(changed, tags=["new"]),
        accessed(old),
    )

    at(bench, LOGGED + HOUR + timedelta(seconds=1))
    await bench.sweep()

    assert living(owner_dsn) == {"changed", "elsewhere", "own"}
    (expiry,) = expiries(bench)
    assert (expiry.memory_id, expiry.updated_at, expiry.expires_at, expiry.archive) == (
        old.memory_id,
        LOGGED,
        LOGGED + HOUR,
        True,
    )


async def test_each_rule_reaches_its_own_namespaces_and_kinds(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(policy_set(ttl_seconds=60))
    await bench.log.set_policy(policy_set("kept", ttl_seconds=10**9))
    await bench.log.set_policy(policy_set("kept/short", ttl_seconds=60))
    await bench.log.set_policy(policy_set(ttl_seconds=60, tenant="globex"))
    await bench.log.tell(
        *(stored(namespace=name, text=name) for name in ("any", "kept", "kept/long", "kept/short/a")),
        stored(tenant="globex", text="globex"),
        stored(tenant="initech", text="initech"),
    )

    at(bench, LOGGED + HOUR)
    await bench.sweep()

    assert living(owner_dsn) == {"kept", "kept/long"}
    assert [len(memories(owner_dsn, tenant)) for tenant in ("globex", "initech")] == [1, 1]
    assert [state.content is None for state in memories(owner_dsn, "globex").values()] == [True]
    assert [state.content is None for state in memories(owner_dsn, "initech").values()] == [False]


async def test_whoever_wants_to_know_is_told_once_at_the_start_of_the_notice_period(
    bench: Bench, owner_dsn: str
) -> None:
    await bench.log.set_policy(policy_set(ttl_seconds=3600, notice_seconds=600))
    by_policy, by_itself = stored(text="policy"), stored(text="own", expires_at=LOGGED + 2 * HOUR)
    await bench.log.tell(by_policy, by_itself)
    at(bench, LOGGED + timedelta(seconds=2999))
    await bench.sweep()
    assert notices(bench) == []

    at(bench, LOGGED + timedelta(seconds=3000))
    await bench.sweep()
    await bench.sweep()
    assert [(each.memory_id, each.expires_at) for each in notices(bench)] == [
        (by_policy.memory_id, LOGGED + HOUR)
    ]

    at(bench, LOGGED + timedelta(seconds=6600))
    await bench.sweep()
    assert [each.memory_id for each in notices(bench)] == [by_policy.memory_id, by_itself.memory_id]
    assert living(owner_dsn) == {"own"}
    # What is past is forgotten, what is to come is remembered.
    assert [row["memory_id"] for row in rows(owner_dsn, "SELECT memory_id FROM retention_notices")] == [
        by_itself.memory_id
    ]


async def test_an_extension_after_the_notice_saves_a_memory_and_is_told_of_again(
    bench: Bench, owner_dsn: str
) -> None:
    await bench.log.set_policy(policy_set(ttl_seconds=3600, notice_seconds=600))
    memory = stored(text="saved", expires_at=LOGGED + HOUR)
    await bench.log.tell(memory)
    at(bench, LOGGED + timedelta(minutes=55))
    await bench.sweep()

    await bench.log.tell(patched(memory, expires_at=LOGGED + 2 * HOUR))
    at(bench, LOGGED + timedelta(minutes=115))
    await bench.sweep()

    assert living(owner_dsn) == {"saved"}
    assert [each.expires_at for each in notices(bench)] == [LOGGED + HOUR, LOGGED + 2 * HOUR]
    assert len({each.event_id for each in notices(bench)}) == 2


@pytest.mark.parametrize("deadline", ["policy", "own"])
async def test_what_is_extended_between_the_look_and_the_log_lives_on(
    bench: Bench, owner_dsn: str, deadline: str
) -> None:
    await bench.log.set_policy(policy_set("team", ttl_seconds=60))
    memory = stored(namespace="team", text="extended", expires_at=None if deadline == "policy" else LOGGED)
    change = (
        patched(memory, tags=["new"])
        if deadline == "policy"
        else patched(memory, expires_at=LOGGED + 9 * HOUR)
    )
    await bench.log.tell(memory)
    at(bench, LOGGED + timedelta(seconds=60))

    bench.log.meanwhile = lambda: bench.log.tell(change)
    await bench.sweep()

    assert living(owner_dsn) == {"extended"}
    assert len(expiries(bench)) == 1
    assert bench.log.settled[-1].reason is SupersededReason.DEADLINE_MOVED


@pytest.mark.parametrize("sends", range(4))
@pytest.mark.parametrize("side", ["before", "after"])
async def test_killed_before_or_after_any_publication_it_does_nothing_twice(
    pool: Pool, session: Connection, owner_dsn: str, sends: int, side: str
) -> None:
    bench = Bench(AppliedLog(pool), session, RetentionSettings.model_validate({"page_memories": 1}))
    await bench.log.set_policy(policy_set("team", ttl_seconds=3600, notice_seconds=600, archive=True))
    told = [stored(namespace="team", text=f"told {number}") for number in range(2)]
    await bench.log.tell(
        *(stored(namespace="team", text=f"ends {number}", expires_at=LOGGED) for number in range(2)), *told
    )
    at(bench, LOGGED + timedelta(minutes=55))

    setattr(bench.log, f"kill_{side}", sends)
    with pytest.raises(KilledError):
        await bench.sweep()
    bench.log.kill_before = bench.log.kill_after = None
    await bench.sweep()
    await bench.sweep()

    assert living(owner_dsn) == {"told 0", "told 1"}
    applied = [each for each in bench.log.settled if isinstance(each.logged.event, MemoryExpired)]
    assert [each.outcome for each in applied].count(Outcome.APPLIED) == 2
    assert len(rows(owner_dsn, "SELECT FROM outbox")) == 2
    assert {each.memory_id for each in notices(bench)} == {each.memory_id for each in told}
    assert len({each.event_id for each in notices(bench)}) == 2
    assert len(rows(owner_dsn, "SELECT FROM retention_notices")) == 2


async def test_a_policy_that_is_lifted_while_a_sweep_runs_ends_nothing_more(
    pool: Pool, session: Connection, owner_dsn: str
) -> None:
    bench = Bench(AppliedLog(pool), session, RetentionSettings.model_validate({"page_memories": 1}))
    await bench.log.set_policy(policy_set(ttl_seconds=60))
    await bench.log.tell(*(stored(text=f"memory {number}") for number in range(3)))
    at(bench, LOGGED + HOUR)

    bench.log.meanwhile = bench.log.lift_policy
    await bench.sweep()

    # The page that was on its way when the policy was lifted is the only one.
    assert living(owner_dsn) == {"memory 1", "memory 2"}


async def test_a_clock_that_is_ahead_ends_nothing_before_the_database_says_so_too(
    bench: Bench, owner_dsn: str
) -> None:
    (now,) = rows(owner_dsn, "SELECT now() AS now")
    await bench.log.tell(
        stored(text="past", expires_at=now["now"] - HOUR),
        stored(text="to come", expires_at=now["now"] + HOUR),
    )

    at(bench, now["now"] + timedelta(days=365))
    await bench.sweep()

    assert living(owner_dsn) == {"to come"}


async def test_a_clock_that_falls_back_ends_and_tells_nothing_again(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(policy_set(ttl_seconds=3600, notice_seconds=600))
    await bench.log.tell(stored(text="ends"), stored(text="told", expires_at=LOGGED + 2 * HOUR))
    for moment in (LOGGED + HOUR, LOGGED - HOUR, LOGGED + HOUR * 1.95, LOGGED, LOGGED + HOUR * 1.95):
        at(bench, moment)
        await bench.sweep()

    assert living(owner_dsn) == {"told"}
    assert len(expiries(bench)) == 1
    assert len({each.event_id for each in notices(bench)}) == len(notices(bench)) == 1


async def test_more_than_a_page_ends_in_one_sweep_at_the_pace_that_is_set(
    pool: Pool, session: Connection, owner_dsn: str
) -> None:
    settings = RetentionSettings.model_validate({"page_memories": 10, "memories_per_second": 5})
    bench = Bench(AppliedLog(pool), session, settings)
    await bench.log.set_policy(policy_set("team", ttl_seconds=60))
    told: list[MemoryEvent] = [stored(namespace=f"team/{number % 3}") for number in range(25)]
    told += [stored(expires_at=LOGGED) for _ in range(25)]
    await bench.log.tell(*told)
    at(bench, LOGGED + HOUR)

    await bench.sweep()

    assert living(owner_dsn) == set()
    assert sum(bench.clock.slept) >= 50 / 5 - 1
