"""A group that stands still is told from one that is idle, or waits for its store or the brokers."""

import asyncio
import threading
from collections.abc import Collection, Mapping
from contextlib import closing
from datetime import timedelta

import pytest
from confluent_kafka import KafkaError, KafkaException

from fakes import FakeClock
from soma_schemas.refusals import BROKERS
from soma_schemas.settings import KafkaSettings
from soma_schemas.topic_admin import BrokerAccessError
from soma_streams.delivery.retry import StoreAvailability
from soma_streams.watchdog import GroupOnBrokers, Standing, Stillness, Watchdog
from waiting import eventually


class Brokers:
    """What the brokers say, or that they say nothing."""

    def __init__(self, **partitions: Standing) -> None:
        self.partitions = {int(name[1:]): standing for name, standing in partitions.items()}
        self.failure: Exception | None = None
        self.refuses: BrokerAccessError | None = None

    def standings(self) -> Mapping[int, Standing]:
        if self.failure is not None:
            raise self.failure
        return self.partitions

    def refusal(self, error: Exception) -> BrokerAccessError | None:
        assert type(error) is type(self.failure)
        return self.refuses


class Group:
    """A consumer group as the watchdog sees it."""

    def __init__(self, own: Collection[int]) -> None:
        self.availability = StoreAvailability.AVAILABLE
        self._own = own

    def own(self, partitions: Collection[int]) -> Collection[int]:
        del partitions
        return self._own


def a_watchdog(brokers: Brokers, group: Group, clock: FakeClock) -> Watchdog:
    return Watchdog(brokers, group, clock, timedelta(seconds=10))


async def stillness_after(watchdog: Watchdog, clock: FakeClock, seconds: float) -> float:
    await watchdog.look()
    clock.advance(seconds)
    await watchdog.look()
    return watchdog.still_seconds


def test_a_partition_that_moves_is_not_still() -> None:
    stillness = Stillness()

    assert stillness.look({0: Standing(5, 100)}, now=0.0) == 0.0
    assert stillness.look({0: Standing(6, 100)}, now=60.0) == 0.0


def test_a_partition_without_more_to_settle_is_not_still() -> None:
    stillness = Stillness()

    assert stillness.look({0: Standing(100, 100), 1: Standing(None, 0)}, now=0.0) == 0.0
    assert stillness.look({0: Standing(100, 100), 1: Standing(None, 0)}, now=60.0) == 0.0


def test_one_partition_that_stands_counts_although_the_others_move() -> None:
    stillness = Stillness()

    stillness.look({0: Standing(5, 100), 1: Standing(5, 100)}, now=0.0)

    assert stillness.look({0: Standing(5, 100), 1: Standing(50, 100)}, now=60.0) == 60.0


def test_a_partition_counts_from_when_it_fell_behind_and_not_from_its_last_commit() -> None:
    stillness = Stillness()

    stillness.look({0: Standing(5, 5)}, now=0.0)
    stillness.look({0: Standing(5, 6)}, now=3600.0)

    assert stillness.look({0: Standing(5, 6)}, now=3601.0) == 1.0


async def test_a_group_that_settles_nothing_of_what_there_is_stands_still() -> None:
    clock = FakeClock()
    watchdog = a_watchdog(Brokers(p0=Standing(None, 7)), Group({0}), clock)

    assert await stillness_after(watchdog, clock, 300) == 300


async def test_partitions_of_other_members_are_not_its_own() -> None:
    clock = FakeClock()
    watchdog = a_watchdog(Brokers(p0=Standing(7, 7), p1=Standing(3, 7)), Group({0}), clock)

    assert await stillness_after(watchdog, clock, 300) == 0


async def test_a_store_that_is_away_is_no_stillness_and_afterwards_it_counts_anew() -> None:
    clock, group = FakeClock(), Group({0})
    watchdog = a_watchdog(Brokers(p0=Standing(3, 7)), group, clock)
    await stillness_after(watchdog, clock, 100)
    group.availability = StoreAvailability.UNAVAILABLE

    assert await stillness_after(watchdog, clock, 3600) == 0
    group.availability = StoreAvailability.AVAILABLE
    assert await stillness_after(watchdog, clock, 20) == 20


@pytest.mark.parametrize(
    "refusal",
    [KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), TimeoutError()],
    ids=["away", "late"],
)
async def test_brokers_that_do_not_answer_are_no_stillness(refusal: Exception) -> None:
    clock, brokers = FakeClock(), Brokers(p0=Standing(3, 7))
    watchdog = a_watchdog(brokers, Group({0}), clock)
    await stillness_after(watchdog, clock, 100)
    brokers.failure = refusal

    assert await stillness_after(watchdog, clock, 3600) == 0


async def test_brokers_that_refuse_for_longer_than_a_rotation_takes_end_the_group() -> None:
    clock, brokers = FakeClock(), Brokers(p0=Standing(3, 7))
    watchdog = a_watchdog(brokers, Group({0}), clock)
    brokers.failure = KafkaException(KafkaError(KafkaError._TRANSPORT))
    brokers.refuses = BrokerAccessError.of(BROKERS.credentials_refused())

    await watchdog.look()
    clock.advance(59)
    await watchdog.look()
    clock.advance(1)
    with pytest.raises(BrokerAccessError) as refused:
        await watchdog.look()

    assert refused.value.code == "credentials_refused"
    assert "SOMA_KAFKA__SASL_PASSWORD" in (refused.value.remedy or "")


async def test_brokers_that_refuse_for_as_long_as_a_rotation_takes_do_not_end_the_group() -> None:
    clock, brokers = FakeClock(), Brokers(p0=Standing(3, 7))
    watchdog = a_watchdog(brokers, Group({0}), clock)
    refusal = BrokerAccessError.of(BROKERS.credentials_refused())
    for answers in (False, True, False):
        brokers.failure = None if answers else KafkaException(KafkaError(KafkaError._TRANSPORT))
        brokers.refuses = refusal
        await watchdog.look()
        clock.advance(50)

    assert watchdog.still_seconds == 0


def test_its_client_is_not_closed_under_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = GroupOnBrokers(KafkaSettings(bootstrap_servers="127.0.0.1:1"), "group", "topic")
    looking, closing, answered = threading.Event(), threading.Event(), threading.Event()
    done: list[str] = []

    def look() -> dict[int, Standing]:
        looking.set()
        answered.wait(30)
        done.append("look")
        return {}

    def close() -> None:
        closing.set()
        brokers.close()
        done.append("close")

    monkeypatch.setattr(brokers, "_standings", look)
    threads = [threading.Thread(target=brokers.standings), threading.Thread(target=close)]
    for thread, begun in zip(threads, (looking, closing), strict=True):
        thread.start()
        begun.wait(30)
    threads[1].join(0.3)  # it would be closed by now, if nothing held it back
    answered.set()
    for thread in threads:
        thread.join(30)

    assert done == ["look", "close"]


def test_its_client_begins_anew_after_brokers_that_did_not_answer(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("soma_streams.watchdog._TIMEOUT_SECONDS", 0.5)
    with closing(GroupOnBrokers(KafkaSettings(bootstrap_servers="127.0.0.1:1"), "group", "topic")) as brokers:
        before = brokers._admin.client
        with pytest.raises(KafkaException):
            brokers.standings()

        assert brokers._admin.client is not before
    assert capfd.readouterr().err == ""


async def test_it_looks_again_and_again_until_it_is_ended() -> None:
    clock, brokers = FakeClock(skips=False), Brokers(p0=Standing(3, 7))
    watchdog = a_watchdog(brokers, Group({0}), clock)
    running = asyncio.create_task(watchdog.run())
    for _ in range(4):
        await eventually(lambda: asyncio.sleep(0, clock._sleepers), bool)  # noqa: TID251  # looks, and yields
        clock.advance(10)
    running.cancel()

    assert clock.slept == [10.0] * 4
    assert watchdog.still_seconds == 30
