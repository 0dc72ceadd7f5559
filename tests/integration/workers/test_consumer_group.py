"""One consumer group as the workers run it: how it stops, comes back, and waits out an outage."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from mode.threads import WorkerThread
from structlog.testing import capture_logs

from builders import WRITER_SCHEMAS, a_decoder, a_record, nothing_sealed, stored
from fakes import FakeClock, MemorySink, RecordedDeadLetters
from integration.transport.harness import Cluster, a_name, passing
from soma_schemas.clock import SystemClock
from soma_schemas.metrics import MetricSet
from soma_schemas.outcomes import Outcome
from soma_schemas.settings import KafkaSettings
from soma_streams.consumer_group import ConsumerGroup
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry, StoreAvailability
from soma_streams.delivery.settle import Settled, Settler
from soma_streams.delivery.state import LoggedEvent, Settlement, Unapplied, Watermark
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.errors import SystemicError
from soma_streams.metrics import SinkName, WorkerMetrics
from soma_streams.probe_server import is_stalled
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.transport import RecordBatch, consumer_of
from soma_streams.worker_parts import run
from waiting import eventually_so

CLOCK = SystemClock()
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def cluster(kafka_bootstrap: str) -> Cluster:
    return Cluster(kafka_bootstrap)


def a_group(
    cluster: Cluster,
    topic: str,
    name: str,
    *,
    max_concurrent_partitions: int = 1,
    metrics: MetricSet | None = None,
    **delivery: Any,
) -> ConsumerGroup:
    return ConsumerGroup(
        group=name,
        topic=topic,
        kafka=KafkaSettings(bootstrap_servers=cluster.bootstrap),
        delivery=DeliverySettings.model_validate({"session_timeout": timedelta(seconds=6), **delivery}),
        metrics=WorkerMetrics(metrics or MetricSet()).of(SinkName.POSTGRES),
        clock=CLOCK,
        watch_every=timedelta(seconds=0.2),
        max_concurrent_partitions=max_concurrent_partitions,
    )


async def settle_all(batch: RecordBatch) -> Settled:
    return Settled(batch.partition, batch.next_offset, {Outcome.APPLIED: len(batch)})


@asynccontextmanager
async def started(group: ConsumerGroup, settle: Any = settle_all) -> AsyncIterator[ConsumerGroup]:
    stop = asyncio.Event()
    running = asyncio.create_task(group.run(settle, stop))
    await eventually_so(lambda: group._running or running.done())
    try:
        yield group
    finally:
        stop.set()
        await running


def generation(group: ConsumerGroup) -> int:
    number: int = consumer_of(group._app)._thread._ensure_consumer()._coordinator.generation
    return number


def partitions(group: ConsumerGroup) -> set[int]:
    return {tp.partition for tp in consumer_of(group._app).assignment()}


async def test_a_worker_that_cannot_go_on_stops_without_waiting_for_what_it_cannot_settle(
    cluster: Cluster,
) -> None:
    topic, name = cluster.create_topic(), a_name("group")
    cluster.produce(topic, [b"x"])

    async def refuse(batch: RecordBatch) -> Settled:
        raise SystemicError(f"the table is missing, at {batch.first_offset}")

    group = a_group(cluster, topic, name, drain_timeout=timedelta(seconds=30))
    began = CLOCK.monotonic()
    with pytest.raises(SystemicError, match="the table is missing"):
        await run({group: refuse}, asyncio.Event())

    assert CLOCK.monotonic() - began < 20
    assert not cluster.committed(name, topic)


async def test_a_group_that_is_ended_by_a_cancellation_is_stopped_in_a_task_that_was_not(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = a_group(cluster, cluster.create_topic(), a_name("group"))
    stop, cancellations = group._app.stop, list[int]()

    async def watched() -> None:
        task = asyncio.current_task()
        assert task is not None
        cancellations.append(task.cancelling())
        running.cancel()  # once more, in the middle of the stop
        await stop()

    monkeypatch.setattr(group._app, "stop", watched)
    others = set(threading.enumerate())
    running = asyncio.create_task(run({group: settle_all}, asyncio.Event()))
    await eventually_so(lambda: group.health().ready and partitions(group))

    running.cancel()
    await asyncio.wait({running})

    assert running.cancelled()
    assert cancellations == [0]
    # One that stays would keep the process.
    assert not [each for each in set(threading.enumerate()) - others if isinstance(each, WorkerThread)]


async def test_a_worker_that_waits_for_a_broker_can_be_stopped() -> None:
    nobody = Cluster("127.0.0.1:9")
    stop = asyncio.Event()
    with capture_logs() as logs:
        running = asyncio.create_task(run({a_group(nobody, "any", a_name("group")): settle_all}, stop))
        await eventually_so(lambda: any(line["event"] == "brokers_away" for line in logs))
        stop.set()
        await eventually_so(running.done)
        await running


async def test_a_named_instance_that_restarts_in_time_causes_no_rebalance(cluster: Cluster) -> None:
    topic, name = cluster.create_topic(partitions=2), a_name("group")
    async with started(a_group(cluster, topic, name, instance_id="a")) as stays:
        async with started(a_group(cluster, topic, name, instance_id="b")) as leaves:
            await eventually_so(lambda: len(partitions(stays)) == len(partitions(leaves)) == 1)
            [moved] = partitions(leaves)
            joined = generation(stays)
        async with started(a_group(cluster, topic, name, instance_id="b")) as back:
            cluster.produce(topic, [b"x"], partition=moved)
            await eventually_so(lambda: cluster.committed(name, topic, moved) == 1)
            assert partitions(back) == {moved}
        assert generation(stays) == joined


@pytest.mark.parametrize("instances", [("a",), ("a", "b", "c")])
async def test_named_instances_go_over_to_another_topic_within_their_session(
    cluster: Cluster, instances: tuple[str, ...]
) -> None:
    former, topic = (cluster.create_topic(partitions=partitions) for partitions in (3, 4))
    name = a_name("group")

    async def all_assigned(of: str, stack: AsyncExitStack) -> None:
        # All at once: a group that comes together again waits for every member it knows.
        groups = await asyncio.gather(
            *(
                stack.enter_async_context(
                    started(
                        a_group(cluster, of, name, instance_id=each, session_timeout=timedelta(minutes=2))
                    )
                )
                for each in instances
            )
        )
        await eventually_so(
            lambda: sorted(number for group in groups for number in partitions(group)),
            lambda seen: seen == list(range(3 if of == former else 4)),
        )

    async with AsyncExitStack() as running:
        await all_assigned(former, running)
    async with AsyncExitStack() as running:
        await all_assigned(topic, running)
        for partition in range(4):
            cluster.produce(topic, [b"x"], partition=partition)
        await eventually_so(
            lambda: [cluster.committed(name, topic, partition) for partition in range(4)],
            lambda seen: seen == [1] * 4,
        )


class AwayFor(MemorySink):
    """A store that refuses every connection until a time on the clock."""

    def __init__(self, clock: FakeClock, until: float) -> None:
        super().__init__()
        self._clock = clock
        self._until = until

    async def write(
        self, events: Sequence[LoggedEvent], unapplied: Sequence[Unapplied], watermark: Watermark
    ) -> Sequence[Settlement]:
        if self._clock.monotonic() < self._until:
            raise psycopg.OperationalError("connection refused")
        return await super().write(events, unapplied, watermark)


class KnownSchemas:
    async def fetch(self, ids: set[int]) -> dict[int, WriterSchema]:
        return {number: WRITER_SCHEMAS[number] for number in ids}


async def test_an_hour_without_the_store_costs_no_membership_no_dead_letter_and_no_event(
    cluster: Cluster,
) -> None:
    topic, name = cluster.create_topic(), a_name("group")
    clock, letters = FakeClock(skips=False), RecordedDeadLetters()
    sink = AwayFor(clock, clock.monotonic() + HOUR.total_seconds())
    delivery: dict[str, Any] = {"session_timeout": timedelta(seconds=2)}
    group = a_group(cluster, topic, name, **delivery)
    settler = Settler(
        sink=sink,
        decoder=a_decoder(),
        sealed=nothing_sealed(),
        schemas=KnownSchemas(),
        dead_letters=letters,
        retry=Retry(RetrySettings.model_validate({}), clock, Random(3), group),
        clock=clock,
        flood=FloodGuard(DeliverySettings.model_validate(delivery)),
        epoch=1,
    )
    events = [stored(key=f"memory {number}") for number in range(20)]

    async with started(group, settler.settle):
        await eventually_so(lambda: partitions(group) == {0})
        joined = generation(group)
        for event in events:
            record = a_record(event, 0)
            cluster.produce(topic, [record.value], key=record.key)
        await eventually_so(lambda: group.health().availability is StoreAvailability.UNAVAILABLE)
        await passing(3.0)  # longer than the session timeout, in the brokers' own time
        assert not group.health().ready
        assert cluster.committed(name, topic) == 0
        for _ in range(int(HOUR.total_seconds() // 30) + 2):
            clock.advance(30.0)
            await eventually_so(
                lambda: clock._sleepers or group.health().availability is StoreAvailability.AVAILABLE
            )
        await eventually_so(lambda: cluster.committed(name, topic) == len(events))

        assert group.health().ready
        assert generation(group) == joined
    assert {name.memory_id for name in sink.states} == {event.memory_id for event in events}
    assert letters.letters == []


async def test_a_group_that_fetches_nothing_of_what_the_log_has_fails_its_liveness(cluster: Cluster) -> None:
    topic, name = cluster.create_topic(), a_name("group")
    after = timedelta(seconds=1)
    async with started(a_group(cluster, topic, name)) as group:
        cluster.produce(topic, [b"x"])
        await eventually_so(lambda: cluster.committed(name, topic) == 1)
        await passing(2.0)
        assert not is_stalled(group, after)

        # What a rebalance that never comes to its end leaves behind: nothing in flight, and nothing fetched.
        consumer_of(group._app).stop_flow()
        cluster.produce(topic, [b"y"])
        await eventually_so(lambda: is_stalled(group, after))
        assert group.health().oldest_unsettled_seconds == 0.0

        consumer_of(group._app).resume_flow()
        await eventually_so(lambda: not is_stalled(group, after))


async def test_a_member_without_partitions_is_not_to_blame_for_those_of_others(cluster: Cluster) -> None:
    topic, name = cluster.create_topic(), a_name("group")
    async with (
        started(a_group(cluster, topic, name)) as one,
        started(a_group(cluster, topic, name)) as other,
    ):
        await eventually_so(lambda: len(partitions(one) | partitions(other)) == 1)
        await eventually_so(lambda: all(consumer_of(each._app).is_member for each in (one, other)))

        assert sorted(len(each.own({0})) for each in (one, other)) == [0, 1]


class Gate:
    """Settles nothing until it is opened, and knows which batches wait there."""

    def __init__(self) -> None:
        self.waiting: list[RecordBatch] = []
        self.most = 0
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def settle(self, batch: RecordBatch) -> Settled:
        self.waiting.append(batch)
        self.most = max(self.most, len(self.waiting))
        try:
            await self._open.wait()
        finally:
            self.waiting.remove(batch)
        return await settle_all(batch)


async def test_batches_of_as_many_partitions_as_allowed_are_settled_at_once(cluster: Cluster) -> None:
    topic, name, gate = cluster.create_topic(partitions=3), a_name("group"), Gate()
    async with started(a_group(cluster, topic, name, max_concurrent_partitions=2), gate.settle):
        for _ in range(2):
            for partition in range(3):
                cluster.produce(topic, [b"x"], partition=partition)
        await eventually_so(lambda: len(gate.waiting) == 2)
        assert len({batch.partition for batch in gate.waiting}) == 2
        gate.open()
        await eventually_so(
            lambda: [cluster.committed(name, topic, number) for number in range(3)] == [2] * 3
        )
    assert gate.most == 2


async def test_a_partition_that_waits_holds_no_other_one_back(cluster: Cluster) -> None:
    topic, name, gate = cluster.create_topic(partitions=2), a_name("group"), Gate()

    async def settle(batch: RecordBatch) -> Settled:
        return await (gate.settle(batch) if batch.partition == 0 else settle_all(batch))

    async with started(a_group(cluster, topic, name, max_concurrent_partitions=2), settle):
        cluster.produce(topic, [b"x"], partition=0)
        await eventually_so(lambda: len(gate.waiting) == 1)
        cluster.produce(topic, [b"x"] * 5, partition=1)
        await eventually_so(lambda: cluster.committed(name, topic, 1) == 5)
        assert not cluster.committed(name, topic, 0)
        gate.open()
        await eventually_so(lambda: cluster.committed(name, topic, 0) == 1)


async def test_after_a_failure_no_batch_is_begun_and_none_is_waited_for(cluster: Cluster) -> None:
    topic, name = cluster.create_topic(partitions=2), a_name("group")
    group = a_group(cluster, topic, name, drain_timeout=timedelta(seconds=30))
    begun: list[int] = []

    async def refuse(batch: RecordBatch) -> Settled:
        begun.append(batch.partition)
        await eventually_so(lambda: consumer_of(group._app).unacknowledged().batches == 2)
        raise SystemicError("the table is missing")

    for partition in (0, 1):
        cluster.produce(topic, [b"x"], partition=partition)
    began = CLOCK.monotonic()
    with pytest.raises(SystemicError, match="the table is missing"):
        await group.run(refuse, asyncio.Event())

    assert len(begun) == 1
    assert CLOCK.monotonic() - began < 20


async def test_a_scrape_is_answered_before_a_run_in_it_and_after_it(cluster: Cluster) -> None:
    topic, metrics = cluster.create_topic(), MetricSet()
    group = a_group(cluster, topic, a_name("group"), metrics=metrics)

    def told(name: str, **labels: str) -> float | None:
        metrics.exposition("")
        return metrics.registry.get_sample_value(name, {"sink": "postgres", **labels})

    def settled_below() -> float | None:
        return told("soma_watermark_offset", partition="0")

    before = told("soma_rebalances_total"), told("soma_assigned_partitions"), settled_below()
    cluster.produce(topic, [b"1", b"2", b"3"])
    async with started(group):
        await eventually_so(lambda: settled_below() == 3)
        meanwhile = told("soma_rebalances_total"), told("soma_assigned_partitions")
    after = told("soma_rebalances_total"), told("soma_assigned_partitions"), settled_below()

    assert before == (0, 0, None)
    assert meanwhile == (1, 1)
    assert after == (1, 0, None)
