"""The law of the transport: no commit passes an unacknowledged record, and none is forgotten."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from soma_streams.transport.lanes import Lanes
from soma_streams.transport.records import Chunk, RecordBatch, TopicPartition
from unit.transport.builders import a_chunk, some_limits

PARTITIONS = [TopicPartition("events", number) for number in range(2)]


@dataclass
class Log:
    """A partition as the broker has it: offsets of records, with gaps that hold none."""

    offsets: list[int] = field(default_factory=list)
    end: int = 0
    committed: int | None = None

    def grow(self, records: int, gap: int) -> None:
        self.end += gap
        self.offsets += range(self.end, self.end + records)
        self.end += records

    def read(self, position: int, most: int) -> tuple[list[int], int]:
        """Return what a fetch drains, and where it leaves the position."""
        ahead = [offset for offset in self.offsets if offset >= position]
        drained = ahead[:most]
        return drained, drained[-1] + 1 if len(ahead) > most else self.end


class Life(RuleBasedStateMachine):
    """Plays the broker, the thread that drains it, and the agent, against the real lanes."""

    def __init__(self) -> None:
        super().__init__()
        self.logs = {partition: Log() for partition in PARTITIONS}
        self.lanes = Lanes(some_limits(batch_records=2, batches_in_flight=3), monotonic=lambda: 0.0)
        self.acknowledged: dict[TopicPartition, set[int]] = {partition: set() for partition in PARTITIONS}
        self.reached: dict[TopicPartition, int] = {}
        self.at_the_agent: list[RecordBatch] = []
        self.posted: list[Chunk] = []
        self.epoch = 0
        self.assign(PARTITIONS)

    # -- the thread --------------------------------------------------------------------------------

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.epoch += 1
        self.assigned_at = self.epoch
        self.epochs = dict.fromkeys(partitions, self.epoch)
        self.positions = {partition: self.logs[partition].committed or 0 for partition in partitions}

    def set_back(self, offsets: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        self.epoch += 1
        self.positions.update(offsets)
        self.epochs.update(dict.fromkeys(offsets, self.epoch))
        return dict.fromkeys(offsets, self.epoch)

    @rule(records=st.integers(0, 6), gap=st.integers(0, 2), most=st.integers(1, 6))
    def drain(self, records: int, gap: int, most: int) -> None:
        for partition in self.positions:
            log = self.logs[partition]
            log.grow(records, gap)
            drained, position = log.read(self.positions[partition], most)
            self.positions[partition] = position
            self.posted.append(a_chunk(drained, position, epoch=self.epochs[partition], partition=partition))

    # -- the application's loop --------------------------------------------------------------------

    @rule(batches=st.integers(1, 6))
    def receive_and_hand_over(self, batches: int) -> None:
        for chunk in self.posted:
            self.lanes.admit(chunk)
        self.posted.clear()
        for _ in range(batches):
            batch = self.lanes.take()
            if batch is not None:
                self.at_the_agent.append(batch)

    @rule()
    def fail_to_hand_over(self) -> None:
        batch = self.lanes.take()
        if batch is not None:
            self.lanes.put_back(batch)

    @precondition(lambda self: self.at_the_agent)
    @rule(which=st.integers(0, 9))
    def acknowledge(self, which: int) -> None:
        """Any batch that the agent has, in any order, also one of a lane that is long gone."""
        batch = self.at_the_agent.pop(which % len(self.at_the_agent))
        if self.lanes.acknowledge(batch):
            self.reached[batch.topic_partition] = batch.next_offset
        self.acknowledged[batch.topic_partition].update(record.offset for record in batch)

    @rule(arrives=st.booleans(), answered=st.booleans())
    def commit(self, arrives: bool, answered: bool) -> None:  # noqa: FBT001  # drawn
        """A commit may be lost on the way, or done without anybody here hearing of it."""
        marks = self.lanes.marks()
        if arrives:
            for partition, mark in marks.items():
                assert mark.epoch >= self.assigned_at, "it would move the next owner's commit"
                self.logs[partition].committed = mark.offset
            if answered:
                self.lanes.confirm(marks)

    @rule(committed_first=st.booleans(), ours=st.sampled_from([PARTITIONS, PARTITIONS[:1], PARTITIONS[1:]]))
    def rebalance(self, committed_first: bool, ours: list[TopicPartition]) -> None:  # noqa: FBT001  # drawn
        self.lanes.close()
        self.commit(arrives=committed_first, answered=True)
        self.lanes.revoke(self.epoch)
        self.assign(ours)
        for partition in set(PARTITIONS) - set(ours):
            log = self.logs[partition]
            self.acknowledged[partition].update(log.offsets)
            log.committed = log.end

    @rule()
    def seek_to_committed(self) -> None:
        committed = {p: c for p in self.positions if (c := self.logs[p].committed) is not None}
        epochs = self.set_back(committed)
        self.lanes.know_committed(committed)
        self.lanes.reposition(epochs)

    @rule(back=st.integers(0, 5))
    def seek_back(self, back: int) -> None:
        """To before the oldest record not acknowledged, so that nothing is skipped on purpose."""
        self.lanes.reposition(
            self.set_back({p: max(0, (self.logs[p].committed or 0) - back) for p in self.positions})
        )

    # -- the law -----------------------------------------------------------------------------------

    @invariant()
    def no_commit_passes_an_unacknowledged_record(self) -> None:
        for partition, log in self.logs.items():
            passed = {offset for offset in log.offsets if offset < (log.committed or 0)}
            assert passed <= self.acknowledged[partition], (partition, log.committed)

    @invariant()
    def batches_are_in_order_and_end_where_the_next_begins(self) -> None:
        for batch in self.at_the_agent:
            offsets = [record.offset for record in batch]
            assert offsets == sorted(offsets)
            assert batch.last_offset < batch.next_offset

    def teardown(self) -> None:
        """Left alone, everything is delivered, acknowledged and committed, to the end of each log.

        Whoever follows the batches gets there too, also where the log ends without a record.
        """
        self.drain(records=1, gap=1, most=10_000)
        self.receive_and_hand_over(batches=1)
        self.drain(records=0, gap=2, most=10_000)
        self.receive_and_hand_over(batches=1)
        while self.at_the_agent:
            self.acknowledge(which=0)
            self.receive_and_hand_over(batches=1)
        self.commit(arrives=True, answered=True)
        for partition, log in self.logs.items():
            assert self.acknowledged[partition] == set(log.offsets)
            assert log.committed == log.end
        assert self.reached == {**self.reached, **{p: self.logs[p].end for p in self.positions}}


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=200, stateful_step_count=40)
