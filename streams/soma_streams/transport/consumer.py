"""The Faust side: lets records into lanes, hands batches to agents, and commits what they acknowledged."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import monotonic
from typing import Any, NoReturn

import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message
from faust.types.transports import TPorTopicSet
from mode import ServiceT

from .kafka import ConsumerStoppedError
from .lanes import Lanes, Mark, Unacknowledged
from .limits import Limits
from .message import BatchMessage, batch_of
from .options import Options
from .records import Chunk, RecordBatch, TopicPartition
from .thread import CommitOutcome, ConsumerThread, RebalanceListener
from .transport_errors import MisuseError, PositionError

_ALL_HAVE_ROOM_SECONDS = 1.0
_SOME_HAVE_ROOM_SECONDS = 0.05
_NONE_HAVE_ROOM_SECONDS = 0.2

log = structlog.get_logger(__name__)


class _NoAutomaticAcknowledgement(dict[TP, set[int]]):
    """Stands where a stream that acknowledges by itself keeps its notes, and tells on it."""

    def __init__(self, tell: Callable[[MisuseError], None]) -> None:
        super().__init__()
        self._tell = tell

    def __missing__(self, tp: TP) -> NoReturn:
        error = MisuseError(
            f"a stream of {tp.topic} acknowledged a batch by itself",
            remedy="Iterate over batches(stream) and acknowledge each batch when its work is done.",
        )
        self._tell(error)
        raise error


class Consumer(driver.Consumer):
    """Fetches for all agents of one application.

    Its methods belong to the application's event loop; none may be called from another thread.
    """

    RebalanceListener = RebalanceListener
    _thread: ConsumerThread

    def __init__(self, transport: Any, *args: Any, **kwargs: Any) -> None:
        self.options: Options = transport.options
        self._lanes = Lanes(self.options.limits, monotonic)
        self._messages: dict[int, BatchMessage] = {}
        self._paused = False
        self._room = asyncio.Event()  # something was acknowledged, or fetching resumed
        self._work = asyncio.Event()  # something may be handed over
        self._acknowledged = asyncio.Event()
        self._committing = asyncio.Lock()
        self._drain_until = 0.0
        super().__init__(transport, *args, **kwargs)
        self._acked_index = _NoAutomaticAcknowledgement(self._crash_soon)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def limits(self) -> Limits:
        """The bounds of this consumer."""
        return self.options.limits

    # -- what applications call ------------------------------------------------------------------------

    def acknowledge(self, batch: RecordBatch) -> bool:
        """Declare a batch done: all its records are where they must be, and need never come again.

        Batches may be acknowledged in any order; what is committed never passes one that is not acknowledged.

        Returns:
            False if this changes nothing: the batch was acknowledged before, or its partition was revoked or
            set back meanwhile, in which case its records come again, here or elsewhere.
        """
        counted = self._lanes.acknowledge(batch)
        message = self._messages.pop(id(batch), None)
        if message is not None:
            self._let_go(message)
        self._room.set()
        self._work.set()
        self._acknowledged.set()
        return counted

    def abandon(self, batch: RecordBatch) -> None:
        """Declare that a batch will not be acknowledged here: no stop and no rebalance waits for it any more.

        Its records come again, here after a restart or elsewhere; nothing of its partition is handed over
        until then.
        """
        message = self._messages.get(id(batch))
        if message is not None:
            message.abandoned = True
            self._acknowledged.set()

    def pause(self) -> None:
        """Stop fetching, once the fetch under way ends: within a second; stay in the group.

        What was fetched before is still handed over.
        """
        self._paused = True

    def resume(self) -> None:
        """Fetch again."""
        self._paused = False
        self._room.set()

    @property
    def paused(self) -> bool:
        """Whether fetching is paused."""
        return self._paused

    def unacknowledged(self) -> Unacknowledged:
        """Report what is held, for a watchdog and for metrics."""
        return self._lanes.unacknowledged()

    def oldest_unacknowledged_age(self) -> float:
        """Return the seconds since the longest unacknowledged batch was handed over; 0 if there is none.

        An agent that raises never acknowledges the batch it had: this grows until the process is restarted.
        """
        return self._lanes.unacknowledged().oldest_age_seconds or 0.0

    @property
    def is_member(self) -> bool:
        """Whether the group counts this consumer among its members, with or without partitions."""
        return self._thread.is_member

    @property
    def assigned_partitions(self) -> int:
        """How many partitions it has now."""
        return self._thread.assigned_partitions

    @property
    def rebalances(self) -> int:
        """How often it was given its partitions."""
        return self._thread.rebalances

    def watermarks(self) -> Mapping[TopicPartition, int]:
        """Return below which offset everything is acknowledged, of the partitions that it has now."""
        return self._lanes.watermarks()

    @property
    def gone_unread(self) -> int:
        """Offsets that the log had dropped, by retention or by hand, before they were fetched."""
        return self._thread.gone_unread

    # -- in --------------------------------------------------------------------------------------------

    def receive(self, chunks: Iterable[Chunk]) -> None:
        """Let all that was drained into its lanes; runs before anything of it can be handed over."""
        try:
            for chunk in chunks:
                self._lanes.admit(chunk)
                if chunk.end_offset is not None:
                    self.app.monitor.track_tp_end_offset(TP(*chunk.partition), chunk.end_offset)
        except Exception as error:  # noqa: BLE001  # a callback's error would vanish, and with it the records
            self._crash_soon(error)
        self._work.set()

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Fetch and hand over until told to stop; the body of Faust's fetcher service."""
        try:
            await _until_first_ends(
                self._fetch_always(),
                self._hand_over_always(),
                self._stopped.wait(),
                fetcher._stopped.wait(),  # type: ignore[attr-defined]  # noqa: SLF001  # ServiceT hides it
            )
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise
        except Exception as error:
            log.error("fetching_failed", reason=type(error).__name__)  # noqa: TRY400  # crash logs the trace
            await self.crash(error)
            raise

    async def _fetch_always(self) -> None:
        while True:
            if not self.flow_active:
                await self.can_resume_flow.wait()
            self._room.clear()
            active = self._get_active_partitions()
            wanted = set() if self._paused else self._lanes.with_room(TopicPartition(*tp) for tp in active)
            if wanted:
                seconds = _ALL_HAVE_ROOM_SECONDS if len(wanted) == len(active) else _SOME_HAVE_ROOM_SECONDS
                await self._thread.fetch([TP(*p) for p in wanted], seconds, self._lanes.fetch_records())
            else:
                await self._thread.keep_membership()
                await _wait_for(self._room, _NONE_HAVE_ROOM_SECONDS)

    # -- out -------------------------------------------------------------------------------------------

    async def _hand_over_always(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self.flow_active and (batch := self._lanes.take()) is not None:
                await self._hand_over(batch)

    async def _hand_over(self, batch: RecordBatch) -> None:
        if not self.app.topics.acks_enabled_for(batch.topic):
            raise MisuseError(
                f"topic {batch.topic} was declared with acks=False",
                remedy="Declare it with acks; nothing of it could be committed otherwise.",
            )
        message = BatchMessage(batch, self.app.consumer_generation_id)
        self._messages[id(batch)] = message
        try:
            await self.callback(message)
        except asyncio.CancelledError:
            if not message.tracked:
                del self._messages[id(batch)]
                self._lanes.put_back(batch)
            raise
        if message.refcount != 1 and not message.acked:
            raise MisuseError(
                f"{message.refcount} streams listen to {batch.topic}, and a batch is acknowledged once",
                remedy="Give every agent of a topic an application, and so a group, of its own.",
            )

    def ack(self, message: Message) -> bool:
        """Acknowledge the batch that a message carries; what `stream.ack(event)` comes to."""
        if not message.tracked:
            raise MisuseError(
                f"Faust tried to decode a batch of {message.topic}, and would have skipped it",
                remedy="Declare the topic with schema=BatchSchema().",
            )
        return self.acknowledge(batch_of(message))

    def _let_go(self, message: BatchMessage) -> None:
        """Tell Faust that a message is done with."""
        message.acked = True
        self._unacked_messages.discard(message)
        if message.tracked:
            self.app.sensors.on_message_out(message.tp, message.offset, message)

    # -- commits ---------------------------------------------------------------------------------------

    async def commit(
        self,
        topics: TPorTopicSet | None = None,
        start_new_transaction: bool = True,  # noqa: FBT001, FBT002  # Faust's signature
    ) -> bool:
        """Commit what is acknowledged; tell whether the broker confirmed anything new."""
        async with self._committing:
            return await self.force_commit(topics, start_new_transaction)

    async def force_commit(
        self,
        topics: TPorTopicSet | None = None,
        start_new_transaction: bool = True,  # noqa: ARG002, FBT001, FBT002  # Faust's signature
    ) -> bool:
        """Try once to commit what is acknowledged; a try that fails leaves everything to the next one."""
        marks = {
            partition: mark
            for partition, mark in self._lanes.marks().items()
            if topics is None or TP(*partition) in topics or partition.topic in topics
        }
        if not marks:
            return False
        sensor_state = self.app.sensors.on_commit_initiated(self)
        outcome = await self._try_commit(marks)
        self.app.sensors.on_commit_completed(self, sensor_state)
        if outcome is not CommitOutcome.DONE:
            return False
        self._lanes.confirm(marks)
        self.app.monitor.on_tp_commit({TP(*partition): mark.offset for partition, mark in marks.items()})
        return True

    async def _try_commit(self, marks: Mapping[TopicPartition, Mark]) -> CommitOutcome:
        seconds = self.limits.commit_seconds
        try:
            async with asyncio.timeout(seconds):
                # What agents sent on behalf of these records must be out before their offsets are.
                await self.app.producer.flush()
        except TimeoutError:
            log.warning("commit_failed", reason="producer_flush_timeout", partitions=len(marks))
            return CommitOutcome.LATER
        try:
            return await self._thread.commit_marks(marks, seconds)
        except ConsumerStoppedError:
            return CommitOutcome.OVER

    # -- rebalances, seeks, stops ----------------------------------------------------------------------

    async def wait_empty(self) -> None:
        """Hand nothing more out, wait a bounded time for what agents have, and commit.

        Faust calls it when partitions are revoked and when the application stops. Calls that overlap or
        follow each other share one deadline.
        """
        if self._lanes.close():
            self._drain_until = monotonic() + self.limits.drain_seconds
        # After a crash the thread is gone, and with it the way to commit what might still be acknowledged.
        while self._agents_hold_batches() and not self._thread.should_stop:
            remaining = self._drain_until - monotonic()
            if remaining <= 0:
                held = self._lanes.unacknowledged()
                log.warning("drain_incomplete", batches=held.batches, records=held.records)
                break
            self._acknowledged.clear()
            await _wait_for(self._acknowledged, remaining)
        await self.commit_and_end_transactions()

    def _agents_hold_batches(self) -> bool:
        return any(
            message.tracked and not message.abandoned and self._lanes.in_flight(message.batch)
            for message in self._messages.values()
        )

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drain within bounds, commit, and forget the assignment."""
        # Faust stops the flow only when something was assigned; records of the next assignment would
        # otherwise reach a conductor that does not know their partitions yet.
        self.stop_flow()
        try:
            await super().on_partitions_revoked(revoked)
            if self.app.should_stop:
                await self.wait_empty()  # Faust leaves it out then
        finally:
            self._lanes.revoke(self._thread.epoch)
            self._acknowledged.set()
            for message in self._messages.values():
                self._let_go(message)
            self._messages.clear()

    async def perform_seek(self) -> None:
        """Commit what is acknowledged, then set every partition back to its committed offset.

        Where the store behind it stands at less, it is set back to there.

        Raises:
            PositionError: It did not work; the application crashes, because records would be missing.
        """
        try:
            async with asyncio.timeout(self.limits.seek_seconds):
                await self.commit()
                stands = None if self.options.stands is None else await self.options.stands()
                rewound = await self._thread.rewind(stands or {})
        except Exception as error:
            failure = PositionError(f"partitions could not be set back to their commits: {error!r}")
            failure.__cause__ = error
            await self.crash(failure)
            raise failure from error
        self._lanes.know_committed(rewound.committed)
        self._lanes.reposition(rewound.epochs)
        self._room.set()

    async def _seek(self, partition: TP, offset: int) -> None:
        self._lanes.reposition(await self._thread.reposition({partition: offset}))
        self._room.set()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Set partitions to these offsets."""
        self._lanes.reposition(await self._thread.reposition(partitions))
        self._room.set()

    def close(self) -> None:
        """Do nothing: when a rebalance meets a stop, Faust would close the client under the last commit."""

    def resume_flow(self) -> None:
        """Hand over and fetch again after a rebalance."""
        super().resume_flow()
        self._work.set()
        self._room.set()

    # -- watching --------------------------------------------------------------------------------------

    async def verify_all_partitions_active(self) -> None:
        """Say so when a batch stays unacknowledged for longer than Faust's stream_processing_timeout."""
        held = self._lanes.unacknowledged()
        age = held.oldest_age_seconds or 0.0
        if age > self.app.conf.stream_processing_timeout:
            log.error(
                "batches_stay_unacknowledged", batches=held.batches, records=held.records, seconds=round(age)
            )

    def _crash_soon(self, error: BaseException) -> None:
        """Crash the application from where nothing can be awaited."""
        self.add_future(self.crash(error))


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _until_first_ends(*work: Awaitable[Any]) -> None:
    """Run all until one ends, then end the others; raise what the first one raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
