"""A lane: the records of one partition between being drained and being acknowledged."""

from collections import deque
from dataclasses import dataclass
from enum import Enum

from .limits import Limits
from .records import Chunk, Record, RecordBatch, TopicPartition
from .transport_errors import LaneError


class LaneState(Enum):
    """What a lane still does."""

    OPEN = "open"
    """Takes records in, hands batches out, counts acknowledgements."""
    CLOSING = "closing"
    """Hands nothing more out; what the agent has may still be acknowledged."""
    DROPPED = "dropped"
    """Nothing counts any more: the partition went elsewhere, or its position was set anew."""


_STEPS = {
    LaneState.OPEN: {LaneState.CLOSING, LaneState.DROPPED},
    LaneState.CLOSING: {LaneState.DROPPED},
    LaneState.DROPPED: set[LaneState](),
}


def step(current: LaneState, wanted: LaneState) -> LaneState:
    """Return the wanted state if a lane may go there from the current one.

    Raises:
        LaneError: It may not.
    """
    if wanted not in _STEPS[current]:
        raise LaneError(f"a lane that is {current.value} cannot become {wanted.value}")
    return wanted


@dataclass(frozen=True, slots=True)
class _Segment:
    """Successive waiting records, weighed once: most leave together, and weighing each again would show."""

    records: tuple[Record, ...]
    size_bytes: int

    def split(self, most_records: int, most_bytes: int) -> tuple["_Segment", "_Segment"]:
        """Return the longest beginning within these bounds, which may be empty, and the rest."""
        if len(self.records) <= most_records and self.size_bytes <= most_bytes:
            return self, _Segment((), 0)
        cut = 0
        size = 0
        for record in self.records[:most_records]:
            weight = record.size_bytes
            if size + weight > most_bytes:
                break
            cut += 1
            size += weight
        return (
            _Segment(self.records[:cut], size),
            _Segment(self.records[cut:], self.size_bytes - size),
        )


@dataclass(slots=True)
class _Flight:
    """A batch that was handed over and is not yet behind the watermark.

    Attributes:
        batch: It.
        begins: Where the watermark stands until it is acknowledged.
        told_before: How far the batches before it went.
        handed_at: When.
        acknowledged: Whether it is.
    """

    batch: RecordBatch
    begins: int
    told_before: int
    handed_at: float
    acknowledged: bool = False


class Lane:
    """The order of one partition, within one run of its position.

    Records enter in the order of the log and leave as batches. Batches may be acknowledged in any order; the
    watermark is the offset of the oldest unacknowledged record, or else the next offset of the last batch,
    and so the only offset that may be committed. Where the position moved without records, a batch without
    records says so, and is acknowledged like any other: whoever follows batches gets to the log's end. So
    is the position at which the lane begins, unless that is the very beginning of a log. A dropped lane
    answers every acknowledgement with no and has no watermark.

    Args:
        partition: Whose records these are.
        epoch: Which run of the partition's position.
        start: The first offset that the lane accounts for.
        limits: How large a batch gets, and how many are in flight.
    """

    def __init__(self, partition: TopicPartition, epoch: int, start: int, limits: Limits) -> None:
        self.partition = partition
        self.epoch = epoch
        self._limits = limits
        self._state = LaneState.OPEN
        self._waiting: deque[_Segment] = deque()
        self._waiting_records = 0
        self._waiting_bytes = 0
        self._flights: deque[_Flight] = deque()
        self._start = start
        self._position = start
        self._told = 0

    @property
    def state(self) -> LaneState:
        """What the lane still does."""
        return self._state

    @property
    def watermark(self) -> int | None:
        """Offset of the oldest unacknowledged record, or how far batches went; None once dropped."""
        if self._state is LaneState.DROPPED:
            return None
        if self._flights:
            return self._flights[0].begins
        if self._waiting:
            return self._waiting[0].records[0].offset
        return max(self._start, self._told)

    @property
    def waiting_records(self) -> int:
        """Records drained and not handed over."""
        return self._waiting_records

    @property
    def unacknowledged(self) -> tuple[RecordBatch, ...]:
        """Batches handed over and not acknowledged, oldest first."""
        return tuple(flight.batch for flight in self._flights if not flight.acknowledged)

    @property
    def oldest_handed_at(self) -> float | None:
        """When the longest unacknowledged batch was handed over."""
        return min((flight.handed_at for flight in self._flights if not flight.acknowledged), default=None)

    @property
    def held_records(self) -> int:
        """Records waiting or in flight; those acknowledged out of order count until the watermark is past."""
        return self._waiting_records + sum(len(flight.batch) for flight in self._flights)

    @property
    def held_bytes(self) -> int:
        """The bytes of the held records."""
        return self._waiting_bytes + sum(flight.batch.size_bytes for flight in self._flights)

    @property
    def can_hand_over(self) -> bool:
        """Whether a batch can be taken now."""
        return (
            self._state is LaneState.OPEN
            and self._position > self._told
            and sum(not flight.acknowledged for flight in self._flights) < self._limits.batches_in_flight
        )

    def continues_with(self, chunk: Chunk) -> bool:
        """Tell whether a chunk of this epoch follows what the lane has; if not, the log went back."""
        first = chunk.records[0].offset if chunk.records else chunk.position
        return first >= self._position

    def append(self, chunk: Chunk) -> None:
        """Let drained records in.

        Raises:
            LaneError: They do not belong here, or the lane was dropped.
        """
        if self._state is LaneState.DROPPED or chunk.epoch != self.epoch or not self.continues_with(chunk):
            raise LaneError(f"records of {chunk.partition} do not continue the lane at {self._position}")
        if chunk.records:
            self._waiting.append(_Segment(chunk.records, chunk.size_bytes))
            self._waiting_records += len(chunk.records)
            self._waiting_bytes += chunk.size_bytes
        self._position = chunk.position

    def take(self, now: float) -> RecordBatch:
        """Hand over everything that waits, up to the limits of a batch, but always one record if any waits.

        Raises:
            LaneError: `can_hand_over` is false.
        """
        if not self.can_hand_over:
            raise LaneError(f"nothing of {self.partition} can be handed over")
        records: list[Record] = []
        size = 0
        while self._waiting:
            segment = self._waiting.popleft()
            fitting, rest = segment.split(
                self._limits.batch_records - len(records), self._limits.batch_bytes - size
            )
            if not records and not fitting.records:
                fitting, rest = segment.split(1, segment.size_bytes)
            records.extend(fitting.records)
            size += fitting.size_bytes
            if rest.records:
                self._waiting.appendleft(rest)
                break
        self._waiting_records -= len(records)
        self._waiting_bytes -= size
        batch = RecordBatch(
            topic=self.partition.topic,
            partition=self.partition.partition,
            records=tuple(records),
            next_offset=self._waiting[0].records[0].offset if self._waiting else self._position,
            size_bytes=size,
        )
        begins = records[0].offset if records else max(self._start, self._told)
        self._flights.append(_Flight(batch, begins, self._told, now))
        self._told = batch.next_offset
        return batch

    def put_back(self, batch: RecordBatch) -> None:
        """Undo the latest `take`, whose batch did not reach the agent.

        Raises:
            LaneError: It was not the latest, or is acknowledged.
        """
        if not self._flights or self._flights[-1].batch is not batch or self._flights[-1].acknowledged:
            raise LaneError(f"the batch at {batch.first_offset} of {self.partition} cannot be put back")
        self._told = self._flights.pop().told_before
        if batch.records:
            self._waiting.appendleft(_Segment(batch.records, batch.size_bytes))
            self._waiting_records += len(batch.records)
            self._waiting_bytes += batch.size_bytes

    def acknowledge(self, batch: RecordBatch) -> bool:
        """Acknowledge this very batch and move the watermark past the acknowledged head.

        Returns:
            Whether that was news: False if the lane was dropped, or the batch is not in flight here.
        """
        if self._state is LaneState.DROPPED:
            return False
        for flight in self._flights:
            if flight.batch is batch and not flight.acknowledged:
                flight.acknowledged = True
                break
        else:
            return False
        while self._flights and self._flights[0].acknowledged:
            self._flights.popleft()
        return True

    def close(self) -> None:
        """Hand nothing more out; acknowledgements still count."""
        self._state = step(self._state, LaneState.CLOSING)

    def drop(self) -> None:
        """Forget everything; nothing that is acknowledged later can move an offset."""
        self._state = step(self._state, LaneState.DROPPED)
        self._waiting.clear()
        self._waiting_records = 0
        self._waiting_bytes = 0
        self._flights.clear()
