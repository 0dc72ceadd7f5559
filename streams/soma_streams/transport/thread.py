"""The Kafka side: runs aiokafka in the consumer's own thread and says exactly which records belong together.

Everything here that touches aiokafka's consumer runs in its thread, so that a drain, a change of position and
the note about it are one step. Methods without an underscore are called from the application's loop.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar, cast

import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from .kafka import (
    AIOKafkaConsumer,
    ConsumerRecord,
    ConsumerStoppedError,
    IllegalGenerationError,
    KafkaError,
    KafkaPartition,
    OffsetAndMetadata,
    RebalanceInProgressError,
    RoundRobinPartitionAssignor,
    UnknownMemberIdError,
    assigned_topics,
    size_bytes,
    to_records,
)
from .lanes import Mark
from .options import Isolation, Options
from .records import Chunk, TopicPartition
from .transport_errors import MissingTopicError, RecordsGoneError

_T = TypeVar("_T")
_WATCH_SECONDS = 1.0
_RECONNECT_SECONDS = 0.5
_REJOIN_SECONDS = 0.5

log = structlog.get_logger(__name__)


class CommitOutcome(Enum):
    """What became of one try to commit."""

    DONE = "done"
    LATER = "later"
    """The broker could not do it now."""
    OVER = "over"
    """The assignment has ended: whoever owns the partitions next begins at the former commit."""


@dataclass(frozen=True, slots=True)
class Rewound:
    """Where the assigned partitions were set back to.

    Attributes:
        committed: The committed offset of each partition that has one.
        epochs: The new epoch of each partition whose position was set.
    """

    committed: dict[TopicPartition, int]
    epochs: dict[TopicPartition, int]


class Receiver(Protocol):
    """Whom the thread drains records for; its methods belong to the application's loop."""

    @property
    def flow_active(self) -> bool:
        """Whether anything may be drained."""
        ...

    @property
    def options(self) -> Options:
        """What the application chose."""
        ...

    def receive(self, chunks: Iterable[Chunk]) -> None:
        """Take what was drained."""
        ...


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Notes a new assignment, together with its generation, before anyone else hears of it."""

    _thread: "ConsumerThread"

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Note the assignment, then tell the application."""
        self._thread.note_assignment()
        await super().on_partitions_assigned(assigned)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Drains records for the consumer, and moves positions and commits for it."""

    def __post_init__(self) -> None:
        """Set up the notes about the current assignment."""
        super().__post_init__()
        self._epoch = 0
        self._assignment: Any = None
        self._assignment_epoch = 0
        self._generation = -1
        self._epochs: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._drained_from: dict[TopicPartition, int] = {}
        self._reset_signs: dict[TopicPartition, object] = {}
        self._gone_unread = 0
        self._rebalances = 0

    async def on_start(self) -> None:
        """Start the client as soon as a broker answers.

        Raises:
            KafkaError: A broker refuses, and will go on refusing.
        """
        while not self.should_stop:
            try:
                await super().on_start()
            except KafkaError as error:
                await self._ensure_consumer().stop()
                if not error.retriable:
                    raise
                log.warning("brokers_away", reason=type(error).__name__)
                await self.sleep(_RECONNECT_SECONDS)
            else:
                self._refuse_former_assignments()
                return

    async def on_thread_stop(self) -> None:
        """Let go of the client, also while it cannot connect.

        aiokafka's `stop` cancels a fetch that waits to be tried again, and is ended by that itself. The
        thread would end without telling, and whoever waits for it would do so for a minute.
        """
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            await self._ensure_consumer()._client.close()  # noqa: SLF001  # what `stop` did not come to

    def _refuse_former_assignments(self) -> None:
        """Join again when the group assigns topics that are not read any more.

        Brokers give a static member that comes back what it had, and do not look at what it reads now, until
        the group's leader joins a second time. aiokafka takes such an assignment for an error without remedy.
        """
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001  # no public way to it
        accept = coordinator._on_join_complete  # noqa: SLF001  # see above

        async def judge(generation: int, member_id: str, protocol: str, assignment: bytes) -> None:
            former = assigned_topics(assignment) - self._ensure_consumer().subscription()
            if former:
                log.info("former_assignment_refused", topics=sorted(former))
                await self.sleep(_REJOIN_SECONDS)
            else:
                await accept(generation, member_id, protocol, assignment)

        coordinator._on_join_complete = judge  # noqa: SLF001  # see above

    @property
    def _receiver(self) -> Receiver:
        return cast("Receiver", self.consumer)

    @property
    def epoch(self) -> int:
        """The latest epoch of any partition."""
        return self._epoch

    @property
    def is_member(self) -> bool:
        """Whether the group counts this consumer among its members."""
        return self._consumer is not None and self._consumer._coordinator.generation >= 0  # noqa: SLF001  # no public way to it

    @property
    def assigned_partitions(self) -> int:
        """How many partitions it has now."""
        return len(self._consumer.assignment()) if self._consumer is not None else 0

    @property
    def rebalances(self) -> int:
        """How often it was given its partitions."""
        return self._rebalances

    @property
    def gone_unread(self) -> int:
        """Offsets that the log had dropped before they were fetched."""
        return self._gone_unread

    # -- calls from the application's loop -----------------------------------------------------------

    async def _inside(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run work in this thread; cancelling the call cancels the work.

        Raises:
            ConsumerStoppedError: The thread has ended, or ended meanwhile.
        """
        if self.should_stop:
            work.close()
            raise ConsumerStoppedError
        future: Future[_T] = asyncio.run_coroutine_threadsafe(work, self.thread_loop)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            # Not the caller was cancelled but the work: the thread clears its loop when it ends.
            raise ConsumerStoppedError from None

    async def fetch(self, partitions: Iterable[TP], timeout_seconds: float, max_records: int) -> None:
        """Drain up to so many records of these partitions, waiting for the first of them.

        What is drained is posted to the application's loop and reaches `Receiver.receive` even when nobody
        waits for this call any more.
        """
        await self._inside(self._fetch(tuple(partitions), timeout_seconds, max_records))

    async def keep_membership(self) -> None:
        """Tell aiokafka that the application lives although it fetches nothing, so it stays in the group."""
        await self._inside(self._touch())

    async def commit_marks(self, marks: Mapping[TopicPartition, Mark], seconds: float) -> CommitOutcome:
        """Try once to commit these marks.

        Raises:
            KafkaError: The broker refuses, and will go on refusing.
        """
        return await self._inside(self._commit_marks(marks, seconds))

    async def rewind(self, stands: Mapping[int, int]) -> Rewound:
        """Set every assigned partition back to its committed offset, or to the first one drained from it.

        Args:
            stands: An offset by partition, which none is set beyond.
        """
        return await self._inside(self._rewind(stands))

    async def reposition(self, offsets: Mapping[TP, int]) -> dict[TopicPartition, int]:
        """Set partitions to these offsets; return their new epochs."""
        return await self._inside(self._reposition(offsets))

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Set every assigned partition back; return the committed offsets."""
        rewound = await self.rewind({})
        return {TP(*partition): offset for partition, offset in rewound.committed.items()}

    # -- fetching ------------------------------------------------------------------------------------

    async def _fetch(self, partitions: tuple[TP, ...], timeout_seconds: float, max_records: int) -> None:
        # An empty list would mean all partitions to aiokafka, also those that have no room.
        if not partitions or not self._receiver.flow_active:
            return
        drained = await self._ensure_consumer().getmany(
            *(KafkaPartition(*tp) for tp in partitions),
            timeout_ms=int(timeout_seconds * 1000),
            max_records=max_records,
        )
        # Nothing may be awaited from here to the post: positions and assignment are those of the drain.
        chunks = self._chunks(drained)
        if chunks:
            self.parent_loop.call_soon_threadsafe(self._receiver.receive, chunks)

    def _chunks(self, drained: Mapping[KafkaPartition, list[ConsumerRecord]]) -> list[Chunk]:
        """Pair what was drained with the positions that aiokafka moved to.

        A position also moves without records, over markers of transactions and over compacted batches.
        """
        assignment = self.note_assignment()
        if assignment is None:
            return []
        committed_only = self._receiver.options.isolation is Isolation.READ_COMMITTED
        chunks = []
        for kafka_partition in assignment.tps:
            state = assignment.state_value(kafka_partition)
            if not state.has_valid_position:
                continue
            partition = TopicPartition(*kafka_partition)
            found = drained.get(kafka_partition, ())
            if not found and self._positions.get(partition) == state.position:
                continue
            records = to_records(found)
            begins = records[0].offset if records else state.position
            if state._position_fut is not self._reset_signs[partition]:  # noqa: SLF001  # made anew by a reset
                self._reset_signs[partition] = state._position_fut  # noqa: SLF001  # see above
                self._note_reset(partition, begins)
            self._positions[partition] = state.position
            self._drained_from.setdefault(partition, begins)
            chunks.append(
                Chunk(
                    partition=partition,
                    epoch=self._epochs[partition],
                    records=records,
                    position=state.position,
                    size_bytes=size_bytes(found),
                    end_offset=state.lso if committed_only else state.highwater,
                )
            )
        return chunks

    def _note_reset(self, partition: TopicPartition, begins: int) -> None:
        """Say that the log no longer had the position, so that aiokafka went where its policy points.

        Raises:
            RecordsGoneError: The store gives its own account of what it has, and these it will never have.
        """
        expected = self._positions.get(partition, self._drained_from.get(partition, begins))
        if begins > expected:
            self._gone_unread += begins - expected
            log.error("records_gone_unread", **partition._asdict(), from_offset=expected, to_offset=begins)
            if self._receiver.options.stands is not None:
                raise RecordsGoneError(
                    f"partition {partition.partition} of {partition.topic} was to be read from {expected}, "
                    f"and begins at {begins} by now"
                )
        elif begins < expected:
            log.error("log_went_back", **partition._asdict(), from_offset=expected, to_offset=begins)

    async def _touch(self) -> None:
        with self._ensure_consumer()._subscription.fetch_context():  # noqa: SLF001  # what getmany does
            pass

    # -- assignments and positions -------------------------------------------------------------------

    def note_assignment(self) -> Any:
        """Return the current assignment, if any; one that is new begins a new epoch for all its partitions.

        aiokafka makes a new object for every assignment, and starts it at the committed offsets.
        """
        consumer = self._ensure_consumer()
        subscription = consumer._subscription.subscription  # noqa: SLF001  # no public way to it
        assignment = None if subscription is None else subscription.assignment
        if assignment is not None and assignment is not self._assignment:
            self._assignment = assignment
            self._generation = consumer._coordinator.generation  # noqa: SLF001  # no public way to it
            self._rebalances += 1
            self._epoch += 1
            self._assignment_epoch = self._epoch
            self._epochs = {TopicPartition(*tp): self._epoch for tp in assignment.tps}
            self._positions = {}
            self._drained_from = {}
            self._reset_signs = {
                TopicPartition(*tp): assignment.state_value(tp)._position_fut  # noqa: SLF001  # see _chunks
                for tp in assignment.tps
            }
        return assignment

    def _is_current(self) -> bool:
        """Tell whether the noted assignment still is the member's own."""
        consumer = self._ensure_consumer()
        subscription = consumer._subscription.subscription  # noqa: SLF001  # no public way to it
        return (
            subscription is not None
            and subscription.assignment is self._assignment
            and consumer._coordinator.generation == self._generation  # noqa: SLF001  # no public way to it
        )

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        """Set a position and begin an epoch, in one step."""
        self._ensure_consumer().seek(KafkaPartition(*partition), offset)
        self._epochs[partition] = self._epoch
        self._positions.pop(partition, None)
        self._drained_from[partition] = offset

    async def _rewind(self, stands: Mapping[int, int]) -> Rewound:
        consumer = self._ensure_consumer()
        assignment = self.note_assignment()
        if assignment is None:
            return Rewound({}, {})
        found = await consumer._coordinator.fetch_committed_offsets(list(assignment.tps))  # noqa: SLF001  # one request for all
        if not self._is_current():
            # Another assignment has begun meanwhile, and begins at its own commits.
            return Rewound({}, {})
        self._epoch += 1
        committed = {TopicPartition(*tp): known.offset for tp, known in found.items() if known.offset >= 0}
        for kafka_partition in assignment.tps:
            partition = TopicPartition(*kafka_partition)
            # aiokafka leaves a partition without a commit where it is, past what was drained from it.
            back_to = committed.get(partition, self._drained_from.get(partition))
            if back_to is not None:
                stand = stands.get(partition.partition, back_to)
                if stand < back_to:
                    log.warning("read_again", **partition._asdict(), from_offset=stand, to_offset=back_to)
                self._seek(partition, min(stand, back_to))
        return Rewound(committed, {p: e for p, e in self._epochs.items() if e == self._epoch})

    async def _reposition(self, offsets: Mapping[TP, int]) -> dict[TopicPartition, int]:
        self.note_assignment()
        self._epoch += 1
        for tp, offset in offsets.items():
            self._seek(TopicPartition(*tp), offset)
        return {TopicPartition(*tp): self._epoch for tp in offsets}

    # -- commits -------------------------------------------------------------------------------------

    async def _commit_marks(self, marks: Mapping[TopicPartition, Mark], seconds: float) -> CommitOutcome:
        # Not AIOKafkaConsumer.commit: it retries under whatever generation is current by then, and so could
        # move back the commit of a partition's next owner.
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001  # see above
        offsets = {
            KafkaPartition(*partition): OffsetAndMetadata(mark.offset, "")
            for partition, mark in marks.items()
            if mark.epoch >= self._assignment_epoch
        }
        if len(offsets) < len(marks):
            return CommitOutcome.OVER
        try:
            async with asyncio.timeout(seconds):
                await coordinator.ensure_coordinator_known()
                async with coordinator._commit_lock:  # noqa: SLF001  # guards aiokafka's own commits
                    if not self._is_current():
                        return CommitOutcome.OVER
                    await coordinator._do_commit_offsets(self._assignment, offsets)  # noqa: SLF001  # see above
        except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as error:
            log.info("commit_came_too_late", reason=type(error).__name__, partitions=len(offsets))
            return CommitOutcome.OVER
        except TimeoutError:
            log.warning("commit_failed", reason="timeout", partitions=len(offsets))
            return CommitOutcome.LATER
        except KafkaError as error:
            if not error.retriable:
                raise
            log.warning("commit_failed", reason=type(error).__name__, partitions=len(offsets))
            return CommitOutcome.LATER
        return CommitOutcome.DONE

    # -- topics and errors that nobody would hear of ---------------------------------------------------

    @Service.task
    async def _watch_cluster(self) -> None:
        """Fail on what would otherwise be endless silence: refused membership, and topics that vanished."""
        missing_since: float | None = None
        loop = asyncio.get_running_loop()
        while not self.should_stop:
            await self.sleep(_WATCH_SECONDS)
            consumer = self._ensure_consumer()
            consumer._coordinator.check_errors()  # noqa: SLF001  # aiokafka waits until someone does
            missing = {topic for topic in consumer.subscription() if not consumer.partitions_for_topic(topic)}
            if not missing:
                missing_since = None
            elif missing_since is None:
                missing_since = loop.time()
            elif loop.time() - missing_since > self._receiver.options.limits.topic_wait_seconds:
                raise MissingTopicError(missing)

    # -- the client ----------------------------------------------------------------------------------

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        conf = self.app.conf
        options = self._receiver.options
        return AIOKafkaConsumer(
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            auto_offset_reset=conf.consumer_auto_offset_reset,
            isolation_level=options.isolation.value,
            enable_auto_commit=False,
            check_crcs=conf.broker_check_crcs,
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=_milliseconds(options.limits.fetch_wait_seconds),
            request_timeout_ms=_milliseconds(conf.broker_request_timeout),
            session_timeout_ms=_milliseconds(conf.broker_session_timeout),
            rebalance_timeout_ms=_milliseconds(conf.broker_rebalance_timeout),
            heartbeat_interval_ms=_milliseconds(conf.broker_heartbeat_interval),
            max_poll_interval_ms=_milliseconds(conf.broker_max_poll_interval),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
