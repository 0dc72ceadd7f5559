"""All lanes of one consumer: what may be fetched, what is handed over next, what may be committed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .lane import Lane, LaneState
from .limits import Limits
from .records import Chunk, RecordBatch, TopicPartition


@dataclass(frozen=True, slots=True)
class Mark:
    """An offset that may be committed, and the epoch of the lane that says so."""

    epoch: int
    offset: int


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """What the consumer holds, for a watchdog and for metrics.

    Attributes:
        batches: Handed over and not acknowledged.
        records: The records in them.
        waiting_records: Drained and not handed over.
        held_bytes: Bytes of both.
        oldest_age_seconds: Since the longest unacknowledged batch was handed over; None if there is none.
    """

    batches: int
    records: int
    waiting_records: int
    held_bytes: int
    oldest_age_seconds: float | None

    @property
    def held_records(self) -> int:
        """Records that are held, handed over or not."""
        return self.records + self.waiting_records


class Lanes:
    """The lanes of the partitions that are assigned now.

    Args:
        limits: Bounds of what is held.
        monotonic: Seconds that never run backwards.
    """

    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._lanes: dict[TopicPartition, Lane] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._last_revoked_epoch = -1
        self._set_anew: dict[TopicPartition, int] = {}
        self._typical_bytes = 1.0

    # -- in ----------------------------------------------------------------------------------------

    def admit(self, chunk: Chunk) -> bool:
        """Let a drained chunk into its lane.

        A chunk of an epoch that is over is refused, and nothing is lost by that: an epoch ends exactly when
        the position is set anew, so the records will be fetched again, here or by the partition's next owner.

        Returns:
            Whether the chunk was let in.
        """
        if chunk.epoch <= self._last_revoked_epoch or chunk.epoch < self._set_anew.get(chunk.partition, 0):
            return False
        lane = self._lanes.get(chunk.partition)
        if lane is not None and chunk.epoch < lane.epoch:
            return False
        if lane is None or chunk.epoch > lane.epoch or not lane.continues_with(chunk):
            lane = self._open(chunk)
        lane.append(chunk)
        if chunk.records:
            mean = chunk.size_bytes / len(chunk.records)
            self._typical_bytes = max(mean, 0.8 * self._typical_bytes, 1.0)
        return True

    def _open(self, chunk: Chunk) -> Lane:
        former = self._lanes.get(chunk.partition)
        if former is not None:
            former.drop()
        start = chunk.records[0].offset if chunk.records else chunk.position
        lane = self._lanes[chunk.partition] = Lane(chunk.partition, chunk.epoch, start, self._limits)
        return lane

    def with_room(self, partitions: Iterable[TopicPartition]) -> set[TopicPartition]:
        """Return those of the partitions from which more may be fetched."""
        held_records = sum(lane.held_records for lane in self._lanes.values())
        held_bytes = sum(lane.held_bytes for lane in self._lanes.values())
        if held_records >= self._limits.total_records or held_bytes >= self._limits.total_bytes:
            return set()
        return {partition for partition in partitions if self._has_room(partition)}

    def _has_room(self, partition: TopicPartition) -> bool:
        lane = self._lanes.get(partition)
        if lane is None:
            return True
        if lane.held_records >= self._limits.lane_records or lane.held_bytes >= self._limits.lane_bytes:
            return False
        return lane.state is LaneState.OPEN

    def fetch_records(self) -> int:
        """Return how many records the next fetch may bring, judged by the size of the latest ones."""
        free = self._limits.total_bytes - sum(lane.held_bytes for lane in self._lanes.values())
        fitting = int(min(free, self._limits.lane_bytes) / self._typical_bytes)
        return max(1, min(self._limits.lane_records, fitting))

    # -- out ---------------------------------------------------------------------------------------

    def take(self) -> RecordBatch | None:
        """Hand over the next batch, partitions taking turns; None if nothing waits or no agent is free."""
        for partition, lane in self._lanes.items():
            if lane.can_hand_over:
                # To the end of the line: the order of the dict is the order of turns.
                self._lanes[partition] = self._lanes.pop(partition)
                return lane.take(self._monotonic())
        return None

    def put_back(self, batch: RecordBatch) -> None:
        """Undo the latest `take`, whose batch did not reach the agent."""
        lane = self._lanes.get(batch.topic_partition)
        if lane is not None and self.in_flight(batch):
            lane.put_back(batch)

    def acknowledge(self, batch: RecordBatch) -> bool:
        """Acknowledge a batch; see `Lane.acknowledge`."""
        lane = self._lanes.get(batch.topic_partition)
        return lane is not None and lane.acknowledge(batch)

    def in_flight(self, batch: RecordBatch) -> bool:
        """Tell whether a batch is handed over, not acknowledged, and could still be."""
        lane = self._lanes.get(batch.topic_partition)
        return lane is not None and any(held is batch for held in lane.unacknowledged)

    # -- commits -----------------------------------------------------------------------------------

    def watermarks(self) -> dict[TopicPartition, int]:
        """Return the offset of each lane that may be committed, whether it is already or not."""
        return {
            partition: watermark
            for partition, lane in self._lanes.items()
            if (watermark := lane.watermark) is not None
        }

    def marks(self) -> dict[TopicPartition, Mark]:
        """Return the watermarks that differ from what is known to be committed.

        A partition without a commit gets its starting position committed, so that a crash before the first
        acknowledgement resumes there and not where a reset policy points by then. A watermark below the
        committed offset is committed too: the position was set back on purpose, or the log lost its end,
        and an offset that stayed above would skip records after a restart.
        """
        return {
            partition: Mark(lane.epoch, lane.watermark)
            for partition, lane in self._lanes.items()
            if lane.watermark is not None and lane.watermark != self._committed.get(partition)
        }

    def confirm(self, marks: Mapping[TopicPartition, Mark]) -> None:
        """Note what the broker has confirmed."""
        for partition, mark in marks.items():
            if mark.epoch > self._last_revoked_epoch:
                self._committed[partition] = mark.offset

    def know_committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note what the broker said is committed."""
        self._committed.update(offsets)

    # -- ends --------------------------------------------------------------------------------------

    def close(self) -> bool:
        """Hand nothing more out; return whether anything was still open."""
        still_open = [lane for lane in self._lanes.values() if lane.state is LaneState.OPEN]
        for lane in still_open:
            lane.close()
        return bool(still_open)

    def reposition(self, epochs: Mapping[TopicPartition, int]) -> None:
        """Drop the lanes of partitions whose position was set anew with these epochs, and refuse older ones.

        A chunk that was drained before and comes in after would begin a lane past what the dropped one held.
        """
        self._set_anew.update(epochs)
        for partition, epoch in epochs.items():
            lane = self._lanes.get(partition)
            if lane is not None and lane.epoch < epoch:
                del self._lanes[partition]
                lane.drop()

    def revoke(self, last_epoch: int) -> None:
        """Drop all lanes of epochs up to this one; nothing that belongs to them counts any more."""
        self._last_revoked_epoch = max(self._last_revoked_epoch, last_epoch)
        for partition, lane in list(self._lanes.items()):
            if lane.epoch <= last_epoch:
                del self._lanes[partition]
                lane.drop()
        self._set_anew = {p: epoch for p, epoch in self._set_anew.items() if epoch > last_epoch}
        self._committed.clear()

    # -- reports -----------------------------------------------------------------------------------

    def unacknowledged(self) -> Unacknowledged:
        """Report what is held."""
        batches = [batch for lane in self._lanes.values() for batch in lane.unacknowledged]
        since = [at for lane in self._lanes.values() if (at := lane.oldest_handed_at) is not None]
        return Unacknowledged(
            batches=len(batches),
            records=sum(len(batch) for batch in batches),
            waiting_records=sum(lane.waiting_records for lane in self._lanes.values()),
            held_bytes=sum(lane.held_bytes for lane in self._lanes.values()),
            oldest_age_seconds=self._monotonic() - min(since) if since else None,
        )
