import asyncio
from collections.abc import Mapping

import pytest

from fakes import FakeClock
from soma_api.freshness import Freshness
from soma_api.problems import LogUnavailableError
from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas.groups import SinkGroup


class Log:
    """A log that ends where the test says, or whose brokers do not answer."""

    def __init__(self) -> None:
        self.offsets: Mapping[int, int] | None = {0: 10}

    async def ends(self) -> Mapping[int, int]:
        if self.offsets is None:
            raise LogUnavailableError("the brokers do not answer")
        return self.offsets


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def waiter() -> WatermarkWaiter:
    return WatermarkWaiter()


@pytest.fixture
def freshness(log: Log, waiter: WatermarkWaiter, clock: FakeClock) -> Freshness:
    return Freshness(log, waiter, clock)


async def test_before_the_first_sample_the_age_is_unknown(freshness: Freshness) -> None:
    assert freshness.staleness(SinkGroup.POSTGRES) is None


async def test_a_sink_that_has_everything_is_as_fresh_as_the_last_sample(
    freshness: Freshness, waiter: WatermarkWaiter, clock: FakeClock
) -> None:
    waiter.advance(SinkGroup.POSTGRES, 0, 10)
    await freshness.sample()
    clock.advance(0.75)

    assert freshness.staleness(SinkGroup.POSTGRES) == 0.75


async def test_an_idle_log_does_not_look_stale(
    freshness: Freshness, waiter: WatermarkWaiter, clock: FakeClock
) -> None:
    waiter.advance(SinkGroup.POSTGRES, 0, 10)
    for _ in range(100):
        await freshness.sample()
        clock.advance(1)

    assert freshness.staleness(SinkGroup.POSTGRES) == 1.0


async def test_a_sink_that_is_behind_is_as_stale_as_the_last_end_that_it_reached(
    freshness: Freshness, waiter: WatermarkWaiter, clock: FakeClock, log: Log
) -> None:
    waiter.advance(SinkGroup.POSTGRES, 0, 10)
    for end in (10, 20, 30, 40):
        log.offsets = {0: end}
        await freshness.sample()
        clock.advance(1)

    assert freshness.staleness(SinkGroup.POSTGRES) == 4.0
    waiter.advance(SinkGroup.POSTGRES, 0, 35)
    assert freshness.staleness(SinkGroup.POSTGRES) == 2.0


async def test_one_partition_behind_makes_the_whole_answer_old(
    freshness: Freshness, waiter: WatermarkWaiter, log: Log
) -> None:
    log.offsets = {0: 10, 1: 10}
    waiter.advance(SinkGroup.POSTGRES, 0, 10)
    await freshness.sample()

    assert freshness.staleness(SinkGroup.POSTGRES) is None


async def test_each_sink_has_an_age_of_its_own(freshness: Freshness, waiter: WatermarkWaiter) -> None:
    waiter.advance(SinkGroup.POSTGRES, 0, 10)
    await freshness.sample()

    assert freshness.staleness(SinkGroup.POSTGRES) == 0.0
    assert freshness.staleness(SinkGroup.VECTORS) is None


async def test_while_the_brokers_are_silent_the_age_grows_with_the_clock(
    freshness: Freshness, waiter: WatermarkWaiter, clock: FakeClock, log: Log
) -> None:
    waiter.advance(SinkGroup.POSTGRES, 0, 10)
    await freshness.sample()
    log.offsets = None
    for _ in range(5):
        clock.advance(1)
        await freshness.sample()

    assert freshness.staleness(SinkGroup.POSTGRES) == 5.0


async def test_a_sink_that_is_far_behind_is_as_stale_as_it_is_or_a_second_staler(
    freshness: Freshness, waiter: WatermarkWaiter, clock: FakeClock, log: Log
) -> None:
    # Ten events a second; a sample lies two events after the one before.
    for end in range(0, 8000, 2):
        log.offsets = {0: end}
        await freshness.sample()
        clock.advance(0.2)

    for settled in range(0, 8000, 123):
        waiter.advance(SinkGroup.POSTGRES, 0, settled)
        behind = 800 - settled / 10
        staleness = freshness.staleness(SinkGroup.POSTGRES)
        assert staleness is not None
        assert behind - 1e-6 <= staleness <= behind + 1.2 + 1e-6


async def test_at_rest_an_answer_is_as_old_as_the_last_look_at_the_log(
    waiter: WatermarkWaiter, clock: FakeClock
) -> None:
    just_before_each_look: list[float | None] = []

    class IdleLog:
        async def ends(self) -> Mapping[int, int]:
            just_before_each_look.append(observed.staleness(SinkGroup.POSTGRES))
            if len(just_before_each_look) == 100:
                raise asyncio.CancelledError
            return {0: 10}

    waiter.advance(SinkGroup.POSTGRES, 0, 10)
    observed = Freshness(IdleLog(), waiter, clock)

    with pytest.raises(asyncio.CancelledError):
        await observed.run()

    assert just_before_each_look == [None, *[pytest.approx(0.2)] * 99]


async def test_samples_are_not_kept_for_ever(
    freshness: Freshness, waiter: WatermarkWaiter, clock: FakeClock, log: Log
) -> None:
    waiter.advance(SinkGroup.POSTGRES, 0, 10)
    await freshness.sample()
    log.offsets = {0: 11}
    for _ in range(1200):
        clock.advance(1)
        await freshness.sample()

    assert freshness.staleness(SinkGroup.POSTGRES) is None


async def test_the_time_that_the_brokers_take_to_answer_counts_as_age(
    waiter: WatermarkWaiter, clock: FakeClock
) -> None:
    class SlowLog:
        async def ends(self) -> Mapping[int, int]:
            clock.advance(3)
            return {0: 10}

    waiter.advance(SinkGroup.POSTGRES, 0, 10)
    freshness = Freshness(SlowLog(), waiter, clock)

    await freshness.sample()

    assert freshness.staleness(SinkGroup.POSTGRES) == 3.0
