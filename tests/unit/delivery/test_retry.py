"""Several attempts at once share what is known of the store."""

import asyncio
from random import Random

import pytest

from fakes import FakeClock
from soma_schemas.metrics import MetricSet
from soma_schemas.postgres_access import DatabaseAccessError
from soma_schemas.refusals import POSTGRES
from soma_streams.delivery.retry import Retry, Store, StoreAvailability
from soma_streams.metrics import SinkName, WorkerMetrics
from soma_streams.settings import PostgresWorkerSettings, RetrySettings
from soma_streams.worker_parts import retry_at_start

RETRYING = RetrySettings.model_validate({})


class Availability:
    def __init__(self) -> None:
        self.changes: list[StoreAvailability] = []

    def availability_changed(self, state: StoreAvailability) -> None:
        self.changes.append(state)


class Away:
    """Refuses every call until it is back."""

    def __init__(self) -> None:
        self.is_back = False

    async def call(self) -> str:
        if not self.is_back:
            raise ConnectionError("refused")
        return "done"


async def until_asleep(clock: FakeClock, sleepers: int) -> None:
    async with asyncio.timeout(10):
        while len(clock.slept) < sleepers:  # noqa: ASYNC110  # a fake clock has no event to wait for
            await asyncio.sleep(0)  # noqa: TID251  # lets the others run; no time passes


async def test_the_availability_stays_open_while_one_of_two_attempts_still_fails() -> None:
    availability, clock, store = Availability(), FakeClock(skips=False), Away()
    retry = Retry(RETRYING, clock, Random(7), availability)
    failing = asyncio.create_task(retry("write", store.call))
    await until_asleep(clock, 1)

    assert await retry("read", lambda: asyncio.sleep(0, "there")) == "there"  # noqa: TID251  # as above
    assert availability.changes == [StoreAvailability.UNAVAILABLE]

    store.is_back = True
    clock.advance(60)
    assert await failing == "done"
    assert availability.changes == [StoreAvailability.UNAVAILABLE, StoreAvailability.AVAILABLE]


async def test_an_attempt_that_is_given_up_leaves_no_availability_open() -> None:
    availability, clock = Availability(), FakeClock(skips=False)
    retry = Retry(RETRYING, clock, Random(7), availability)
    failing = asyncio.create_task(retry("write", Away().call))
    await until_asleep(clock, 1)

    failing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await failing

    assert retry.state is StoreAvailability.AVAILABLE


async def test_a_wait_is_counted_for_the_store_that_is_away_and_for_no_other() -> None:
    metrics, clock, registry = MetricSet(), FakeClock(skips=False), Away()
    retry = Retry(RETRYING, clock, Random(7), Availability(), WorkerMetrics(metrics).of(SinkName.POSTGRES))

    def told(name: str, store: Store) -> float | None:
        return metrics.registry.get_sample_value(name, {"sink": "postgres", "store": store})

    failing = asyncio.create_task(retry("read schemas", registry.call, Store.REGISTRY))
    await until_asleep(clock, 1)
    away = told("soma_store_unavailable", Store.REGISTRY), told("soma_store_unavailable", Store.POSTGRES)
    registry.is_back = True
    clock.advance(60)
    await failing

    assert away == (1, 0)
    assert told("soma_store_unavailable", Store.REGISTRY) == 0
    assert told("soma_retries_total", Store.REGISTRY) == 1
    assert told("soma_store_away_seconds_total", Store.REGISTRY) == 60
    assert told("soma_retries_total", Store.POSTGRES) == 0


class Refusing:
    """Does not let anybody in until credentials are right."""

    def __init__(self) -> None:
        self.lets_in = False

    async def call(self) -> str:
        if not self.lets_in:
            raise DatabaseAccessError.of(POSTGRES.credentials_refused())
        return "done"


async def test_who_is_not_let_in_is_tried_again_while_credentials_may_be_on_their_way() -> None:
    clock, store = FakeClock(skips=False), Refusing()
    retry = Retry(RETRYING, clock, Random(7), Availability())
    waiting = asyncio.create_task(retry("write", store.call))
    await until_asleep(clock, 1)

    store.lets_in = True
    clock.advance(60)

    assert await waiting == "done"


async def test_who_is_not_let_in_for_longer_is_told_so() -> None:
    clock, store = FakeClock(skips=False), Refusing()
    retry = Retry(RETRYING, clock, Random(7), Availability())
    waiting = asyncio.create_task(retry("write", store.call))
    await until_asleep(clock, 1)

    clock.advance(61)

    with pytest.raises(DatabaseAccessError):
        await waiting


async def test_who_is_not_let_in_at_a_start_is_told_so_at_once() -> None:
    settings = PostgresWorkerSettings()
    clock = FakeClock(skips=False)

    with pytest.raises(DatabaseAccessError):
        await retry_at_start(settings, clock, Random(7))("look", Refusing().call)

    assert clock.slept == []
