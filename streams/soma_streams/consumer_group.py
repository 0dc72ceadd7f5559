"""One consumer group on one topic: a Faust application that settles batch after batch until it is stopped."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import faust
import structlog
from aiokafka.errors import (  # type: ignore[import-untyped]
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)
from faust.types import StreamT
from mode.utils.locks import Event

from soma_schemas.broker_access import login_refusal, tls_context
from soma_schemas.clock import Clock
from soma_schemas.moments import of_timestamp
from soma_schemas.refusals import BROKERS
from soma_schemas.settings import KafkaSettings
from soma_schemas.topic_admin import BrokerAccessError
from soma_streams.batch_spans import batch_span, tell_outcomes
from soma_streams.cancellation import done_before, end, to_the_end
from soma_streams.delivery.retry import StoreAvailability
from soma_streams.delivery.settle import Settled
from soma_streams.errors import SystemicError
from soma_streams.metrics import (
    ASSIGNED,
    BUFFERED_BYTES,
    BUFFERED_EVENTS,
    GONE_UNREAD,
    OLDEST_UNSETTLED,
    REBALANCES,
    STILL_SECONDS,
    WATERMARK,
    SinkMetrics,
)
from soma_streams.settings import DeliverySettings
from soma_streams.token_provider import TokenProvider
from soma_streams.transport import (
    BatchSchema,
    Consumer,
    Limits,
    Options,
    RecordBatch,
    app_settings,
    batches,
    configure,
    consumer_of,
)
from soma_streams.watchdog import GroupOnBrokers, Watchdog

# Far above any outage: while a store is away the group must not take its partitions from this worker.
_MAX_POLL_INTERVAL_SECONDS = 7 * 24 * 3600.0

# aiokafka takes a refused token for an accepted one, and then speaks out of turn (0.14).
_LOGIN_REFUSED = (AuthenticationFailedError, SaslAuthenticationFailed, IllegalSaslStateError)
_REFUSALS = (
    *_LOGIN_REFUSED,
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
)

Settle = Callable[[RecordBatch], Awaitable[Settled]]


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe wants to know of one consumer group.

    Attributes:
        ready: It is running and its store answers.
        oldest_unsettled_seconds: Age of the batch that is under way for the longest time.
        still_seconds: For how long nothing was settled although the log has more, by the brokers' account.
        availability: Whether its store answers.
    """

    ready: bool
    oldest_unsettled_seconds: float
    still_seconds: float
    availability: StoreAvailability


class ConsumerGroup:
    """Runs one consumer group, once.

    Args:
        group: Its name.
        topic: The topic's name on the brokers.
        kafka: The brokers.
        delivery: How much is taken at once.
        metrics: Where it counts.
        clock: Measures how long a batch takes.
        watch_every: How often the brokers are asked how far the group is.
        refused_patience: How long they may refuse this process before the group ends.
        max_concurrent_partitions: From how many partitions batches are settled at the same time.
        stands: Where the store stands, by partition: what was committed beyond that is read again.
    """

    def __init__(
        self,
        *,
        group: str,
        topic: str,
        kafka: KafkaSettings,
        delivery: DeliverySettings,
        metrics: SinkMetrics,
        clock: Clock,
        watch_every: timedelta = timedelta(seconds=10),
        refused_patience: timedelta = timedelta(seconds=60),
        max_concurrent_partitions: int = 1,
        stands: Callable[[], Awaitable[Mapping[int, int]]] | None = None,
    ) -> None:
        self._group = group
        self._metrics = metrics
        self._clock = clock
        self._at_once = max_concurrent_partitions
        self._availability = StoreAvailability.AVAILABLE
        self._running = False
        self._consumer: Consumer | None = None
        self._kafka = kafka
        self._log = structlog.get_logger("soma_streams.consumer_group").bind(group=group, topic=topic)
        self._failure: Exception | None = None
        self._failed = asyncio.Event()
        self._app = faust.App(
            group,
            **app_settings(kafka.bootstrap_servers),
            broker_credentials=_credentials(kafka, clock),
            broker_session_timeout=delivery.session_timeout.total_seconds(),
            broker_heartbeat_interval=delivery.session_timeout.total_seconds() / 10,
            broker_max_poll_interval=_MAX_POLL_INTERVAL_SECONDS,
            consumer_group_instance_id=delivery.instance_id,
            # Without tables Faust keeps nothing there, but wants a folder all the same.
            datadir=tempfile.gettempdir(),
            web_enabled=False,
            autodiscover=False,
            loop=asyncio.get_running_loop(),
        )
        configure(
            self._app,
            Options(
                limits=Limits(
                    batch_records=delivery.batch_events,
                    batch_bytes=delivery.batch_bytes,
                    lane_records=max(delivery.buffered_events, delivery.batch_events),
                    lane_bytes=2 * delivery.batch_bytes,
                    total_bytes=8 * delivery.batch_bytes,
                    total_records=8 * max(delivery.buffered_events, delivery.batch_events),
                    drain_seconds=delivery.drain_timeout.total_seconds(),
                ),
                stands=stands,
            ),
        )
        self._topic = self._app.topic(topic, schema=BatchSchema())
        self._on_brokers = GroupOnBrokers(kafka, group, topic)
        self._watchdog = Watchdog(self._on_brokers, self, clock, watch_every, refused_patience)
        self._expose(metrics)

    @property
    def availability(self) -> StoreAvailability:
        """Whether the store answers."""
        return self._availability

    def own(self, partitions: Collection[int]) -> Collection[int]:
        """Return those of all partitions that this process has to move.

        A member without partitions is one too many, and has none; but a process that is no member at all,
        while it should be, might be the only one.
        """
        consumer = consumer_of(self._app)
        assigned = {tp.partition for tp in consumer.assignment()}
        return assigned if assigned or consumer.is_member else partitions

    async def run(self, settle: Settle, stop: asyncio.Event) -> None:
        """Join the group and settle batches until `stop` is set; return once the group is left.

        What is under way when `stop` is set is settled within a deadline, and committed.

        Args:
            settle: Brings a batch to its final outcomes; whatever it raises ends the group. It runs for one
                batch of a partition at a time, and for as many partitions at once as the group was told.
            stop: Ends the group.

        Raises:
            Exception: What ended the group before; what is not settled comes again.
        """

        async def deliver(stream: StreamT[RecordBatch]) -> None:
            under_way: dict[int, asyncio.Task[None]] = {}
            try:
                async for batch in batches(stream):
                    await self._turn(batch.partition, under_way)
                    if self._failure is not None:
                        consumer_of(self._app).abandon(batch)  # nothing is begun any more
                        continue
                    under_way[batch.partition] = asyncio.create_task(self._deliver(batch, settle))
            finally:
                await end(*under_way.values())

        self._app.agent(self._topic, name=self._group)(deliver)
        self._app.finalize()
        try:
            if await done_before(stop, self._app.start()):
                self._consumer = consumer_of(self._app)
                self._running = True
                self._log.info("consumer_group_started")
                await self._until_ended(stop)
        except _REFUSALS as error:
            raise await asyncio.to_thread(_refusal_of, error, self._kafka) from error
        finally:
            self._running = False
            await to_the_end(self._leave())

    async def _until_ended(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        failing = asyncio.create_task(self._failed.wait())
        watching = asyncio.create_task(self._watchdog.run(), name=f"watchdog of {self._group}")
        # Faust's wait ends when the application stops or crashes, whatever it was given to wait for.
        ended = asyncio.ensure_future(self._app.wait(Event()))
        everything: list[asyncio.Future[Any]] = [stopping, failing, watching, ended]
        try:
            done, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(*everything)
        if self._failure is not None:
            raise self._failure
        if watching in done:
            watching.result()
        if stopping in done:
            return
        reason = self._app.crash_reason
        if isinstance(reason, Exception):
            raise reason
        raise SystemicError(f"the consumer group {self._group} ended by itself")

    async def _leave(self) -> None:
        """Wait within the deadline for what is under way, commit, and leave the group."""
        await self._app.stop()
        await asyncio.to_thread(self._on_brokers.close)
        self._log.info("consumer_group_stopped")

    def availability_changed(self, state: StoreAvailability) -> None:
        """Fetch nothing while the store is away; membership in the group is kept."""
        self._availability = state
        if not self._running:
            return
        if state is StoreAvailability.UNAVAILABLE:
            consumer_of(self._app).pause()
        else:
            consumer_of(self._app).resume()

    def health(self) -> Health:
        """Return how it is now."""
        age = consumer_of(self._app).oldest_unacknowledged_age() if self._running else 0.0
        ready = self._running and self._availability is StoreAvailability.AVAILABLE and self._failure is None
        return Health(ready, age, self._watchdog.still_seconds, self._availability)

    def _expose(self, metrics: SinkMetrics) -> None:
        """Have read at each scrape what the consumer knows; before it runs there is nothing."""

        def now(read: Callable[[Consumer], float]) -> Callable[[], float]:
            return lambda: read(self._consumer) if self._consumer is not None and self._running else 0

        def ever(read: Callable[[Consumer], float]) -> Callable[[], float]:
            return lambda: read(self._consumer) if self._consumer is not None else 0

        metrics.read(OLDEST_UNSETTLED, now(lambda consumer: consumer.oldest_unacknowledged_age()))
        metrics.read(STILL_SECONDS, now(lambda _: self._watchdog.still_seconds))
        metrics.read(ASSIGNED, now(lambda consumer: consumer.assigned_partitions))
        metrics.read(BUFFERED_EVENTS, now(lambda consumer: consumer.unacknowledged().held_records))
        metrics.read(BUFFERED_BYTES, now(lambda consumer: consumer.unacknowledged().held_bytes))
        metrics.read(REBALANCES, ever(lambda consumer: consumer.rebalances))
        metrics.read(GONE_UNREAD, ever(lambda consumer: consumer.gone_unread))
        metrics.read_by_partition(WATERMARK, self._watermarks)

    def _watermarks(self) -> Mapping[int, int]:
        if self._consumer is None or not self._running:
            return {}
        return {place.partition: offset for place, offset in self._consumer.watermarks().items()}

    async def _turn(self, partition: int, under_way: dict[int, asyncio.Task[None]]) -> None:
        """Wait until a batch of this partition may follow those that are under way, and forget what is done.

        Two batches of one partition can meet although the transport hands over one at a time: a partition
        that was taken away and given back comes again while its former batch is still being written.
        """
        if (former := under_way.get(partition)) is not None:
            await asyncio.wait({former})
        while len(running := [task for task in under_way.values() if not task.done()]) >= self._at_once:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for done in [number for number, task in under_way.items() if task.done()]:
            del under_way[done]

    async def _deliver(self, batch: RecordBatch, settle: Settle) -> None:
        began = self._clock.monotonic()
        with batch_span(self._group, batch) as span:
            try:
                settled = await settle(batch)
            except Exception as error:  # noqa: BLE001  # an agent that raises would be restarted and lose its batch
                self._failure = self._failure or error
                self._failed.set()
                consumer_of(self._app).abandon(batch)  # nothing of its partition follows
                span.fail(type(error).__name__)
            else:
                consumer_of(self._app).acknowledge(batch)
                self._count(batch, settled, began)
                tell_outcomes(span, settled)

    def _count(self, batch: RecordBatch, settled: Settled, began: float) -> None:
        if not batch.records:
            return
        age = self._clock.now() - of_timestamp(batch.records[-1].timestamp_ms)
        self._metrics.batch_settled(
            settled,
            len(batch.records),
            self._clock.monotonic() - began,
            max(0.0, age.total_seconds()),
        )


def _refusal_of(error: Exception, kafka: KafkaSettings) -> BrokerAccessError:
    """Return what aiokafka's refusal means: it does not try again by itself. Blocks."""
    if isinstance(error, _LOGIN_REFUSED):
        return BrokerAccessError.of(login_refusal(kafka))
    return BrokerAccessError.of(BROKERS.not_allowed(f"what it asked for ({type(error).__name__})"))


def _credentials(kafka: KafkaSettings, clock: Clock) -> "faust.auth.Credentials | None":
    context = tls_context(kafka)
    if context is None:
        return None
    if kafka.oauth_token_url is not None:
        return faust.OAuthCredentials(oauth_cb=TokenProvider(kafka, clock), ssl_context=context)
    if kafka.sasl_username is not None and kafka.sasl_password is not None:
        return faust.SASLCredentials(
            mechanism="SCRAM-SHA-512",
            username=kafka.sasl_username,
            password=kafka.sasl_password.get_secret_value(),
            ssl_context=context,
        )
    return faust.SSLCredentials(context)
