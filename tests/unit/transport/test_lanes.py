import pytest

from soma_streams.transport.lanes import Lanes, Mark
from soma_streams.transport.limits import Limits
from soma_streams.transport.records import RecordBatch, TopicPartition
from unit.transport.builders import EVENTS, a_chunk, some_limits

OTHER = TopicPartition("events", 1)


class Hand:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.shows = 100.0

    def __call__(self) -> float:
        return self.shows


def some_lanes(limits: Limits | None = None, clock: Hand | None = None) -> Lanes:
    return Lanes(limits or some_limits(), clock or Hand())


def taken(lanes: Lanes) -> RecordBatch:
    batch = lanes.take()
    assert batch is not None
    return batch


def test_partitions_take_turns() -> None:
    lanes = some_lanes(some_limits(batch_records=1, batches_in_flight=9))
    lanes.admit(a_chunk(range(3)))
    lanes.admit(a_chunk(range(3), partition=OTHER))
    order = [taken(lanes).partition for _ in range(6)]
    assert order == [0, 1, 0, 1, 0, 1]
    assert lanes.take() is None


def test_one_partition_at_work_does_not_hold_the_others() -> None:
    lanes = some_lanes()
    lanes.admit(a_chunk([0]))
    taken(lanes)
    lanes.admit(a_chunk([1]))
    lanes.admit(a_chunk([0], partition=OTHER))
    assert taken(lanes).topic_partition == OTHER


def test_a_partition_with_its_lane_full_is_not_fetched() -> None:
    lanes = some_lanes(some_limits(batch_records=5, lane_records=5))
    lanes.admit(a_chunk(range(5)))
    assert lanes.with_room([EVENTS, OTHER]) == {OTHER}


def test_a_partition_with_too_many_bytes_is_not_fetched() -> None:
    lanes = some_lanes(some_limits(batch_bytes=50, lane_bytes=50))
    lanes.admit(a_chunk(range(5), value=b"123456789"))
    assert lanes.with_room([EVENTS, OTHER]) == {OTHER}


def test_nothing_is_fetched_when_all_lanes_together_hold_too_much() -> None:
    lanes = some_lanes(some_limits(batch_records=5, lane_records=5, total_records=8))
    lanes.admit(a_chunk(range(4)))
    lanes.admit(a_chunk(range(4), partition=OTHER))
    assert lanes.with_room([EVENTS, OTHER]) == set()


def test_nothing_is_fetched_when_all_lanes_together_hold_too_many_bytes() -> None:
    lanes = some_lanes(some_limits(batch_bytes=50, lane_bytes=50, total_bytes=80))
    lanes.admit(a_chunk(range(4), value=b"123456789"))
    lanes.admit(a_chunk(range(4), partition=OTHER, value=b"123456789"))
    assert lanes.with_room([EVENTS, OTHER]) == set()


def test_settling_makes_room() -> None:
    lanes = some_lanes(some_limits(batch_records=5, lane_records=5))
    lanes.admit(a_chunk(range(5)))
    lanes.acknowledge(taken(lanes))
    assert lanes.with_room([EVENTS]) == {EVENTS}


def test_a_fetch_after_large_records_brings_fewer() -> None:
    lanes = some_lanes(some_limits(lane_records=1_000, lane_bytes=100_000))
    assert lanes.fetch_records() == 1_000
    lanes.admit(a_chunk([0], value=b"x" * 9_999))
    assert lanes.fetch_records() == 10


def test_a_fetch_brings_one_record_when_even_that_is_too_large() -> None:
    lanes = some_lanes(some_limits(lane_bytes=100, batch_bytes=100, total_bytes=100))
    lanes.admit(a_chunk([0], value=b"x" * 5_000))
    assert lanes.fetch_records() == 1


def test_the_watermark_is_to_be_committed_until_it_is_confirmed() -> None:
    lanes = some_lanes()
    lanes.know_committed({EVENTS: 0})
    lanes.admit(a_chunk(range(3)))
    assert lanes.marks() == {}
    lanes.acknowledge(taken(lanes))
    assert lanes.marks() == {EVENTS: Mark(epoch=1, offset=3)}
    assert lanes.marks() == {EVENTS: Mark(epoch=1, offset=3)}
    lanes.confirm(lanes.marks())
    assert lanes.marks() == {}


def test_a_partition_without_a_commit_gets_its_start_committed() -> None:
    lanes = some_lanes()
    lanes.admit(a_chunk([], position=40))
    assert lanes.marks() == {EVENTS: Mark(epoch=1, offset=40)}


def test_a_log_that_went_back_takes_the_commit_along() -> None:
    lanes = some_lanes()
    lanes.know_committed({EVENTS: 500})
    lanes.admit(a_chunk([500]))
    before = taken(lanes)
    lanes.admit(a_chunk([3, 4]))
    assert not lanes.acknowledge(before)
    assert lanes.marks() == {EVENTS: Mark(epoch=1, offset=3)}


def test_records_drained_before_a_seek_are_refused() -> None:
    lanes = some_lanes()
    lanes.admit(a_chunk([10], epoch=1))
    lanes.reposition({EVENTS: 2})
    lanes.admit(a_chunk([5], epoch=2))
    assert not lanes.admit(a_chunk([11], epoch=1))
    assert taken(lanes).first_offset == 5
    assert lanes.take() is None


def test_what_was_drained_before_a_seek_and_comes_in_after_begins_no_lane() -> None:
    lanes = some_lanes()
    lanes.admit(a_chunk([0], epoch=1))
    taken(lanes)
    lanes.reposition({EVENTS: 2})
    assert not lanes.admit(a_chunk([], position=1, epoch=1))
    assert lanes.marks() == {}, "it would commit past the record that is to be read again"
    assert lanes.admit(a_chunk([0], epoch=2))
    assert lanes.marks() == {EVENTS: Mark(epoch=2, offset=0)}


def test_records_of_a_later_epoch_replace_the_lane() -> None:
    lanes = some_lanes()
    lanes.admit(a_chunk([10], epoch=1))
    stale = taken(lanes)
    lanes.admit(a_chunk([4], epoch=2))
    assert not lanes.acknowledge(stale)
    assert lanes.marks() == {EVENTS: Mark(epoch=2, offset=4)}


def test_records_of_a_later_epoch_never_continue_a_lane() -> None:
    lanes = some_lanes(some_limits(batches_in_flight=2))
    lanes.admit(a_chunk([10], epoch=1))
    stale = taken(lanes)
    lanes.admit(a_chunk([11], epoch=2))
    assert not lanes.acknowledge(stale)
    assert lanes.marks() == {EVENTS: Mark(epoch=2, offset=11)}


def test_a_seek_leaves_the_lanes_of_other_partitions_alone() -> None:
    lanes = some_lanes()
    lanes.admit(a_chunk([0]))
    lanes.admit(a_chunk([0], partition=OTHER))
    first, second = taken(lanes), taken(lanes)
    lanes.reposition({EVENTS: 2})
    assert not lanes.acknowledge(first)
    assert lanes.acknowledge(second)


def test_nothing_of_a_revoked_assignment_counts() -> None:
    lanes = some_lanes()
    lanes.admit(a_chunk([0, 1]))
    batch = taken(lanes)
    marks = lanes.marks()
    lanes.revoke(last_epoch=1)
    assert not lanes.acknowledge(batch)
    assert not lanes.admit(a_chunk([2]))
    lanes.confirm(marks)
    lanes.admit(a_chunk([0], epoch=2))
    assert lanes.marks() == {EVENTS: Mark(epoch=2, offset=0)}


def test_a_commit_under_a_former_assignment_is_not_taken_for_granted() -> None:
    lanes = some_lanes()
    lanes.know_committed({EVENTS: 3})
    lanes.revoke(last_epoch=1)
    lanes.admit(a_chunk([], position=3, epoch=2))
    assert lanes.marks() == {EVENTS: Mark(epoch=2, offset=3)}


def test_closing_tells_whether_anything_was_open() -> None:
    lanes = some_lanes()
    assert not lanes.close()
    lanes.admit(a_chunk([0]))
    assert lanes.close()
    assert not lanes.close()


def test_a_batch_that_did_not_reach_the_agent_comes_again() -> None:
    lanes = some_lanes()
    lanes.admit(a_chunk([0, 1]))
    lanes.put_back(taken(lanes))
    assert len(taken(lanes)) == 2


def test_putting_back_a_batch_of_a_dropped_lane_does_nothing() -> None:
    lanes = some_lanes()
    lanes.admit(a_chunk([0]))
    batch = taken(lanes)
    lanes.revoke(last_epoch=1)
    lanes.put_back(batch)
    assert lanes.take() is None


def test_the_report_counts_batches_records_and_bytes_and_tells_the_oldest_age() -> None:
    clock = Hand()
    lanes = some_lanes(some_limits(batch_records=2), clock)
    lanes.admit(a_chunk(range(5), value=b"123456789"))
    batch = taken(lanes)
    clock.shows += 7.5
    report = lanes.unacknowledged()
    assert (report.batches, report.records, report.waiting_records) == (1, 2, 3)
    assert (report.held_bytes, report.oldest_age_seconds) == (50, 7.5)
    lanes.acknowledge(batch)
    assert lanes.unacknowledged().oldest_age_seconds is None


@pytest.mark.parametrize("field", ["batch_records", "batch_bytes", "drain_seconds"])
def test_a_limit_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be positive"):
        Limits(**{field: 0})


def test_a_batch_larger_than_its_lane_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_records must not exceed lane_records"):
        Limits(batch_records=10, lane_records=5)
