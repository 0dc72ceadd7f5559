"""Memories end when their importance has faded, by one computation of the worker's and the database's."""

from datetime import timedelta
from random import Random

import pytest

from builders import A_MOMENT, patched, policy_set, stored
from postgres_tables import accessed
from retention_bench import Bench, at, expiries, living, notices
from soma_schemas.events import Decay, RetentionRule
from soma_schemas.retention import RuleInForce
from soma_streams.sinks.sessions import Connection

# When the log receives the first event of a test; each one more is a second later.
LOGGED = A_MOMENT + timedelta(days=1)
HOUR = timedelta(hours=1)
FADES = Decay(half_life_seconds=3600, floor=0.125)
LONG = 10**6


async def test_the_less_important_a_memory_is_the_sooner_it_ends(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(policy_set("team", ttl_seconds=LONG, decay=FADES))
    told = [
        stored(namespace="team", importance=importance, text=str(importance)) for importance in (1, 0.25, 0.5)
    ]
    await bench.log.tell(*told, stored(namespace="team", importance=0.25, expires_at=LOGGED + 9 * HOUR))

    ends = []
    for moment in (HOUR, 2 * HOUR, 3 * HOUR):
        at(bench, LOGGED + moment - timedelta(microseconds=1))
        await bench.sweep()
        at(bench, LOGGED + moment + timedelta(seconds=2))
        await bench.sweep()
        ends.append(len(expiries(bench)))

    assert ends == [1, 2, 3]
    assert [(each.memory_id, each.expires_at) for each in expiries(bench)] == [
        (told[1].memory_id, LOGGED + HOUR + timedelta(seconds=1)),
        (told[2].memory_id, LOGGED + 2 * HOUR + timedelta(seconds=2)),
        (told[0].memory_id, LOGGED + 3 * HOUR),
    ]
    assert len(living(owner_dsn)) == 1


async def test_a_change_begins_anew_and_an_access_does_not(bench: Bench, owner_dsn: str) -> None:
    await bench.log.set_policy(policy_set("team", ttl_seconds=LONG, decay=FADES))
    names = ("raised", "changed", "accessed")
    raised, changed, read = (stored(namespace="team", importance=0.25, text=name) for name in names)
    await bench.log.tell(raised, changed, read)
    await bench.log.tell(patched(raised, importance=0.5), patched(changed, tags=["new"]), accessed(read))

    at(bench, LOGGED + HOUR + timedelta(seconds=2))
    await bench.sweep()
    assert living(owner_dsn) == {"raised", "changed"}

    at(bench, LOGGED + 2 * HOUR)
    await bench.sweep()
    assert living(owner_dsn) == {"raised"}


async def test_a_fading_memory_is_told_of_once_and_an_extension_saves_it(
    bench: Bench, owner_dsn: str
) -> None:
    await bench.log.set_policy(policy_set("team", ttl_seconds=LONG, notice_seconds=600, decay=FADES))
    ends, saved = (stored(namespace="team", importance=0.3, text=name) for name in ("ends", "saved"))
    await bench.log.tell(ends, saved)
    lives = RuleInForce.since(
        A_MOMENT, RetentionRule(kind=None, ttl_seconds=LONG, notice_seconds=600, archive=False, decay=FADES)
    ).lifetime_seconds(0.3)
    deadline = LOGGED + timedelta(seconds=lives)

    at(bench, deadline - timedelta(seconds=601))
    await bench.sweep()
    assert notices(bench) == []
    at(bench, deadline - timedelta(seconds=599))
    await bench.sweep()
    await bench.sweep()
    assert [(each.memory_id, each.expires_at) for each in notices(bench)] == [
        (ends.memory_id, deadline),
        (saved.memory_id, deadline + timedelta(seconds=1)),
    ]

    await bench.log.tell(patched(saved, importance=0.9))
    at(bench, deadline + timedelta(seconds=1))
    await bench.sweep()

    assert living(owner_dsn) == {"saved"}
    assert len(notices(bench)) == 2


@pytest.mark.parametrize("decay", [None, FADES])
async def test_what_a_new_policy_makes_due_at_once_has_its_notice_period_first(
    bench: Bench, owner_dsn: str, decay: Decay | None
) -> None:
    old = stored(namespace="team", importance=0.1, text="old")
    await bench.log.tell(old)
    set_at = LOGGED + timedelta(days=30)
    at(bench, set_at)
    ttl = 3600 if decay is None else LONG
    await bench.log.set_policy(
        policy_set("team", ttl_seconds=ttl, notice_seconds=600, decay=decay, set_at=set_at)
    )

    for _ in range(2):
        await bench.sweep()
        bench.clock.advance(599)
    assert [(each.memory_id, each.expires_at) for each in notices(bench)] == [
        (old.memory_id, set_at + timedelta(minutes=10))
    ]
    assert living(owner_dsn) == {"old"}

    at(bench, set_at + timedelta(minutes=10))
    await bench.sweep()

    assert living(owner_dsn) == set()
    assert [each.expires_at for each in expiries(bench)] == [set_at + timedelta(minutes=10)]


async def test_the_database_computes_the_same_lifetimes_to_the_second(session: Connection) -> None:
    random = Random(66)
    now = LOGGED
    asked = []
    for number in range(5000):
        decay = Decay(
            half_life_seconds=random.randint(1, 2 ** random.randint(1, 31) - 1),
            floor=random.choice([0.01, 0.05, 0.1, 0.25, random.uniform(0.01, 0.99)]),
        )
        rule = RetentionRule(
            kind=None,
            ttl_seconds=random.choice([random.randint(1, 10**9), LONG]),
            notice_seconds=random.choice([0, random.randint(0, 10**6)]),
            archive=False,
            decay=decay if number % 9 else None,
        )
        asked.append(
            (RuleInForce.since(A_MOMENT, rule), random.choice([random.random(), number % 101 / 100]))
        )
    limits = [rule.limits(now) for rule, _ in asked]

    found = await session.execute(
        """
        SELECT soma_cutoff(%s, cutoff, half_life, lowest, shortest, round(importance * 100)::smallint)
        FROM unnest(
            %s::timestamptz[], %s::bigint[], %s::float8[], %s::bigint[], %s::float8[]
        ) WITH ORDINALITY AS place (cutoff, half_life, lowest, shortest, importance, number)
        ORDER BY number
        """,
        [now, *map(list, zip(*limits, strict=True)), [importance for _, importance in asked]],
    )

    assert [now - cutoff for (cutoff,) in await found.fetchall()] == [
        timedelta(seconds=rule.lifetime_seconds(importance)) for rule, importance in asked
    ]
