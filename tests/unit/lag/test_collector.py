"""What the collector tells while the brokers refuse, fall silent or come back."""

import tracemalloc
from datetime import timedelta
from gc import collect

from fakes import FakeClock
from soma_schemas.lag import LagStatus
from soma_streams.lag.facts import Bounds, GroupsSeen, Member, Place, TopicSeen
from soma_streams.lag.lag_collector import Collector
from unit.lag.standins import Brokers, group

PLACE = Place("topic", 0)
INTERVAL = timedelta(seconds=30)


def brokers() -> Brokers:
    return Brokers(
        GroupsSeen({"group": group({PLACE: 5})}, {}),
        {"topic": TopicSeen("id", 1)},
        {PLACE: Bounds(0, 10)},
    )


def collector_of(told: Brokers, clock: FakeClock) -> Collector:
    return Collector(told, told, interval=INTERVAL, window=timedelta(seconds=60), clock=clock)


async def rounds(collector: Collector, clock: FakeClock, count: int = 1) -> None:
    for _ in range(count):
        clock.advance(INTERVAL.total_seconds())
        await collector.round()


def status_in(collector: Collector) -> tuple[LagStatus, str]:
    (view,) = collector.views
    (partition,) = view.partitions
    return partition.status, partition.reason


async def test_a_topic_that_may_not_be_looked_at_is_unknown_with_the_brokers_word() -> None:
    told, clock = brokers(), FakeClock()
    told.known["topic"] = "Broker: Topic authorization failed"
    collector = collector_of(told, clock)

    await rounds(collector, clock)

    assert status_in(collector) == (LagStatus.UNKNOWN, "Broker: Topic authorization failed")
    assert collector.views[0].totals.lag_records is None


async def test_a_partition_without_a_leader_is_unknown_and_the_client_is_renewed() -> None:
    told, clock = brokers(), FakeClock()
    told.ends[PLACE] = "Broker: Leader not available"
    collector = collector_of(told, clock)

    await rounds(collector, clock)

    assert status_in(collector) == (LagStatus.UNKNOWN, "Broker: Leader not available")
    assert told.renewed == 1


async def test_a_group_that_may_not_be_looked_at_is_told_with_the_brokers_word() -> None:
    told, clock = brokers(), FakeClock()
    told.seen = GroupsSeen({}, {"secret": "Group authorization failed"})
    collector = collector_of(told, clock)

    await rounds(collector, clock)

    (view,) = collector.views
    assert (view.name, view.verdict) == ("secret", (LagStatus.UNKNOWN, "Group authorization failed"))


async def test_while_no_broker_answers_the_groups_are_unknown_and_keep_no_numbers() -> None:
    told, clock = brokers(), FakeClock()
    collector = collector_of(told, clock)
    await rounds(collector, clock)
    told.away = True

    await rounds(collector, clock, 3)

    report = collector.report()
    assert report.failure == "no broker answers: nobody is there"
    assert report.age_seconds == 90.0
    assert [(each.status, each.lag_records) for each in report.groups] == [(LagStatus.UNKNOWN, None)]
    assert (collector.rounds, collector.failed_rounds) == (1, 3)


async def test_an_outage_of_the_brokers_is_no_stall_of_the_groups() -> None:
    told, clock = brokers(), FakeClock()
    collector = collector_of(told, clock)
    await rounds(collector, clock)
    told.away = True
    clock.advance(3600)
    await rounds(collector, clock)
    told.away = False

    await rounds(collector, clock)

    assert status_in(collector)[0] is not LagStatus.STOP


async def test_a_silent_broker_may_know_groups_and_one_that_all_deny_is_gone() -> None:
    told, clock = brokers(), FakeClock()
    collector = collector_of(told, clock)
    await rounds(collector, clock)
    told.seen = GroupsSeen({}, {}, ("broker 2 does not answer: refused",))
    await rounds(collector, clock)
    silent = status_in(collector)
    told.seen = GroupsSeen({}, {})
    await rounds(collector, clock)

    assert silent == (LagStatus.UNKNOWN, "broker 2 does not answer: refused")
    assert collector.views == ()


async def test_a_group_that_nobody_reads_any_more_is_held_to_what_its_members_had() -> None:
    told, clock = brokers(), FakeClock()
    told.seen = GroupsSeen({"group": group({}, Member("m", "c", "h", (PLACE,)))}, {})
    collector = collector_of(told, clock)
    await rounds(collector, clock)
    told.seen = GroupsSeen({"group": group({}, state="Empty")}, {})

    await rounds(collector, clock, 3)

    assert status_in(collector) == (
        LagStatus.STOP,
        "no member of the group has the partition, and nothing was committed for 90 s",
    )


async def test_what_a_group_no_longer_reads_is_forgotten() -> None:
    other = Place("other", 0)
    told, clock = brokers(), FakeClock()
    told.known["other"] = TopicSeen("other", 1)
    told.ends[other] = Bounds(0, 1)
    told.seen = GroupsSeen({"group": group({}, Member("m", "c", "h", (PLACE, other)))}, {})
    collector = collector_of(told, clock)
    await rounds(collector, clock)
    told.seen = GroupsSeen({"group": group({}, Member("m", "c", "h", (other,)))}, {})

    await rounds(collector, clock)

    assert [view.place for view in collector.views[0].partitions] == [other]


async def test_the_worst_partition_is_the_groups_status_and_comes_first() -> None:
    places = [Place("topic", number) for number in range(3)]
    told, clock = brokers(), FakeClock()
    told.known["topic"] = TopicSeen("id", 3)
    told.ends = dict.fromkeys(places, Bounds(0, 10))
    told.seen = GroupsSeen({"group": group({places[0]: 10, places[1]: 4, places[2]: 10})}, {})
    collector = collector_of(told, clock)

    await rounds(collector, clock, 4)

    (view,) = collector.views
    assert view.verdict.status is LagStatus.STOP
    assert view.verdict.reason.startswith("topic/1 no member")
    assert [each.place.partition for each in view.partitions] == [1, 0, 2]
    assert view.totals.lag_records == 6


async def test_the_last_minutes_are_kept_and_no_more() -> None:
    told, clock = brokers(), FakeClock()
    collector = collector_of(told, clock)

    await rounds(collector, clock, 300)

    (told_group,) = collector.report().groups
    assert len(told_group.history) == 120
    assert told_group.history[0].at < told_group.history[-1].at
    assert told_group.history[-1].lag_records == 5


async def test_the_age_of_what_has_no_record_is_not_made_up() -> None:
    """Offsets may be of records that were compacted, or of a transaction that was given up."""
    told, clock = brokers(), FakeClock()
    collector = collector_of(told, clock)

    await rounds(collector, clock, 3)

    (partition,) = collector.views[0].partitions
    assert (partition.lag_records, partition.lag_seconds) == (5, None)


async def test_memory_follows_the_groups_and_not_the_rounds() -> None:
    places = [Place("topic", number) for number in range(4)]
    told, clock = brokers(), FakeClock()
    told.known["topic"] = TopicSeen("id", len(places))
    collector = collector_of(told, clock)

    async def more(count: int) -> int:
        for _ in range(count):
            end = 100 * (collector.rounds + 1)
            told.ends = dict.fromkeys(places, Bounds(0, end))
            behind = {place: end - place.partition * 7 % 50 for place in places}
            told.seen = GroupsSeen({f"group-{number}": group(behind) for number in range(5)}, {})
            await rounds(collector, clock)
        collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early, late = await more(150), await more(300)
    finally:
        tracemalloc.stop()

    # What is kept for each round and partition would be some 300 KB more.
    assert late < 1.2 * early
