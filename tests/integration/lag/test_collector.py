"""What the collector makes of groups and logs on a real broker. Only time is the test's."""

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient

from integration.lag.harness import INTERVAL, WINDOW, Log, ShiftedClock, group_in, look, partitions_in
from soma_schemas.lag import LagStatus
from soma_schemas.settings import KafkaSettings
from soma_streams.lag.lag_collector import Collector
from soma_streams.lag.lag_settings import LagSettings
from soma_streams.lag.process import open_collector


@pytest.fixture
def new_log(kafka_settings: KafkaSettings, admin: AdminClient) -> Callable[..., Log]:
    return lambda **settings: Log(kafka_settings, admin, **settings)


@pytest.fixture
def log(new_log: Callable[..., Log]) -> Log:
    return new_log()


async def test_one_round_is_enough_for_records_and_seconds(
    log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    await asyncio.to_thread(log.write, 100)
    await asyncio.to_thread(log.commit, 40)
    clock.shift += 600

    await collector.round()

    (seen,) = partitions_in(collector, log.group)
    assert seen.lag_records == 60
    assert seen.lag_seconds == pytest.approx(600, rel=0.05)
    assert seen.headroom_records == 40
    assert seen.status is LagStatus.UNKNOWN
    assert seen.sample is not None
    assert (seen.sample.committed, seen.sample.start, seen.sample.end) == (40, 0, 100)


async def test_what_came_while_the_collector_looked_on_is_as_old_as_it_is(
    log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    await asyncio.to_thread(log.write, 10)
    await asyncio.to_thread(log.commit, 10)
    await look(collector, clock, 4)
    await asyncio.to_thread(log.write, 10)

    await look(collector, clock, 4)

    (seen,) = partitions_in(collector, log.group)
    # Written after the fourth look, and the eighth is four intervals later.
    assert seen.lag_seconds == pytest.approx(4 * INTERVAL.total_seconds(), rel=0.05)


async def test_a_clock_set_back_by_an_hour_moves_no_lag(
    log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    await asyncio.to_thread(log.write, 10)
    await asyncio.to_thread(log.commit, 5)
    await look(collector, clock)
    (before,) = partitions_in(collector, log.group)
    clock.day_shift = -3600.0

    await look(collector, clock)

    (after,) = partitions_in(collector, log.group)
    assert before.lag_seconds is not None
    assert after.lag_seconds == pytest.approx(before.lag_seconds + 30, rel=0.05)


async def test_an_empty_topic_is_no_trouble_for_ever(
    log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    member = await asyncio.to_thread(log.member)
    try:
        await look(collector, clock, 5)
    finally:
        await asyncio.to_thread(member.close)

    (seen,) = partitions_in(collector, log.group)
    assert seen.status is LagStatus.OK
    assert (seen.lag_records, seen.lag_seconds) == (0, 0.0)
    assert group_in(collector, log.group).verdict.status is LagStatus.OK


async def test_a_member_that_commits_nothing_stalls_and_without_it_the_group_stops(
    log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    await asyncio.to_thread(log.write, 10)
    member = await asyncio.to_thread(log.member)
    try:
        await look(collector, clock, 4)
        stalled = group_in(collector, log.group)
    finally:
        await asyncio.to_thread(member.close)
    await asyncio.to_thread(log.commit, 0)
    await look(collector, clock, 4)
    stopped = group_in(collector, log.group)

    assert stalled.verdict.status is LagStatus.STALL
    assert len(stalled.members) == 1
    assert stalled.partitions[0].member == stalled.members[0].id
    assert stalled.members[0].places == (stalled.partitions[0].place,)
    assert stopped.verdict.status is LagStatus.STOP
    assert stopped.members == ()
    assert "no member" in stopped.verdict.reason


async def test_set_back_it_is_a_rewind_and_set_forwards_it_has_caught_up(
    log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    await asyncio.to_thread(log.write, 100)
    await asyncio.to_thread(log.commit, 90)
    await look(collector, clock)
    await asyncio.to_thread(log.commit, 10)
    await look(collector, clock)
    back = group_in(collector, log.group)
    await asyncio.to_thread(log.commit, 100)
    await look(collector, clock)
    forwards = group_in(collector, log.group)

    assert back.verdict.status is LagStatus.REWIND
    assert "went back from offset 90 to 10" in back.verdict.reason
    assert forwards.verdict.status is LagStatus.OK
    assert forwards.totals.lag_records == 0


async def test_a_topic_that_is_made_anew_is_another(
    log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    await asyncio.to_thread(log.write, 100)
    await asyncio.to_thread(log.commit, 90)
    await look(collector, clock, 3)
    await asyncio.to_thread(log.delete)
    await look(collector, clock)
    without = [view.name for view in collector.views if view.partitions]
    await asyncio.to_thread(log.create)
    await asyncio.to_thread(log.write, 5)
    await asyncio.to_thread(log.commit, 2)
    await look(collector, clock)

    (seen,) = partitions_in(collector, log.group)
    assert log.group not in without
    # Neither a rewind from 90 to 2 nor a lag of the old log's records.
    assert (seen.status, seen.lag_records) == (LagStatus.UNKNOWN, 3)
    assert seen.lag_seconds == pytest.approx(clock.shift, abs=60)


async def test_added_partitions_are_seen_once_a_member_has_them(
    log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    await look(collector, clock)
    await asyncio.to_thread(log.add_partitions, 3)
    member = await asyncio.to_thread(log.member)
    try:
        await look(collector, clock)
    finally:
        await asyncio.to_thread(member.close)

    assert [view.place.partition for view in partitions_in(collector, log.group)] == [0, 1, 2]


async def test_a_group_that_is_deleted_is_forgotten(
    log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    await asyncio.to_thread(log.commit, 0)
    await look(collector, clock)
    before = {view.name for view in collector.views}
    await asyncio.to_thread(log.forget_group)

    await look(collector, clock)

    assert log.group in before
    assert log.group not in {view.name for view in collector.views}
    assert log.group not in {group.group for group in collector.report().groups}


async def test_headroom_is_what_retention_leaves(
    new_log: Callable[..., Log], collector: Collector, clock: ShiftedClock
) -> None:
    log = new_log(**{"retention.ms": "3600000"})
    await asyncio.to_thread(log.write, 100)
    await asyncio.to_thread(log.commit, 40)
    clock.shift += 600

    await collector.round()

    (seen,) = partitions_in(collector, log.group)
    assert seen.headroom_records == 40
    assert seen.headroom_seconds == pytest.approx(3000, rel=0.05)


async def test_what_was_deleted_unread_is_told(log: Log, collector: Collector, clock: ShiftedClock) -> None:
    await asyncio.to_thread(log.write, 100)
    await asyncio.to_thread(log.commit, 10)
    await look(collector, clock)
    await asyncio.to_thread(log.delete_before, 60)

    await look(collector, clock)

    (seen,) = partitions_in(collector, log.group)
    assert (seen.status, seen.lag_records, seen.headroom_records) == (LagStatus.WARN, 40, 0)
    assert seen.reason == "50 offsets were deleted before it came to them"


async def test_a_compacted_topic_has_no_end_of_its_records(
    new_log: Callable[..., Log], collector: Collector, clock: ShiftedClock
) -> None:
    log = new_log(**{"cleanup.policy": "compact"})
    await asyncio.to_thread(log.write, 50, 0, "key")
    await asyncio.to_thread(log.commit, 20)
    clock.shift += 600

    await collector.round()

    (seen,) = partitions_in(collector, log.group)
    assert seen.lag_records == 30
    assert seen.lag_seconds == pytest.approx(600, rel=0.05)
    assert seen.headroom_seconds is None


async def test_two_collectors_see_the_same(
    kafka_settings: KafkaSettings, log: Log, collector: Collector, clock: ShiftedClock
) -> None:
    await asyncio.to_thread(log.write, 100)
    await asyncio.to_thread(log.commit, 40)
    async with open_collector(
        kafka_settings, LagSettings(interval=INTERVAL, window=WINDOW), clock
    ) as another:
        await asyncio.gather(collector.round(), another.round())
        first, second = group_in(collector, log.group), group_in(another, log.group)

    assert first.verdict == second.verdict
    assert first.totals.lag_records == second.totals.lag_records == 60


async def test_a_pattern_that_matches_nothing_finds_nothing_and_says_so(
    kafka_settings: KafkaSettings, log: Log, clock: ShiftedClock
) -> None:
    await asyncio.to_thread(log.commit, 0)
    async with open_collector(kafka_settings, LagSettings(groups="no-such-*"), clock) as collector:
        await collector.round()

        report = collector.report()

    assert report.groups == ()
    assert report.failure is None
    assert report.age_seconds is not None


async def test_brokers_that_are_not_there_are_told_and_nothing_is_made_up(clock: ShiftedClock) -> None:
    nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    async with open_collector(nowhere, LagSettings(), clock) as collector:
        await collector.round()

        report = collector.report()

    assert report.groups == ()
    assert report.at is None
    assert report.failure is not None
    assert "no broker answers" in report.failure
