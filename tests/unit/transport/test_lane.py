import pytest

from soma_streams.transport.lane import Lane, LaneState, step
from soma_streams.transport.limits import Limits
from soma_streams.transport.records import RecordBatch
from soma_streams.transport.transport_errors import LaneError
from unit.transport.builders import EVENTS, a_chunk, some_limits


def a_lane(limits: Limits | None = None, start: int = 0) -> Lane:
    return Lane(EVENTS, epoch=1, start=start, limits=limits or some_limits())


def offsets_of(batch: RecordBatch) -> list[int]:
    return [record.offset for record in batch]


def test_a_single_record_can_be_handed_over_at_once() -> None:
    lane = a_lane()
    lane.append(a_chunk([0]))
    assert lane.can_hand_over
    assert offsets_of(lane.take(now=0.0)) == [0]


def test_what_arrives_while_a_batch_is_worked_on_becomes_the_next_batch() -> None:
    lane = a_lane()
    lane.append(a_chunk([0]))
    first = lane.take(now=0.0)
    lane.append(a_chunk([1, 2]))
    lane.append(a_chunk([3]))
    assert not lane.can_hand_over
    lane.acknowledge(first)
    assert offsets_of(lane.take(now=0.0)) == [1, 2, 3]


def test_a_batch_ends_at_the_limit_of_records_and_the_next_one_goes_on() -> None:
    lane = a_lane(some_limits(batch_records=3, batches_in_flight=9))
    lane.append(a_chunk(range(2)))
    lane.append(a_chunk(range(2, 7)))
    batches = [lane.take(now=0.0) for _ in range(3)]
    assert [offsets_of(batch) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert lane.waiting_records == 0


def test_a_batch_ends_at_the_limit_of_bytes() -> None:
    lane = a_lane(some_limits(batch_bytes=25, batches_in_flight=9))
    lane.append(a_chunk(range(5), value=b"123456789"))  # ten bytes each, with the key
    batches = [lane.take(now=0.0) for _ in range(3)]
    assert [offsets_of(batch) for batch in batches] == [[0, 1], [2, 3], [4]]
    assert [batch.size_bytes for batch in batches] == [20, 20, 10]


def test_a_record_larger_than_every_limit_is_handed_over_alone() -> None:
    lane = a_lane(some_limits(batch_bytes=10))
    lane.append(a_chunk([0, 1], value=b"x" * 50))
    assert offsets_of(lane.take(now=0.0)) == [0]


def test_the_next_offset_lies_past_a_gap_that_is_known() -> None:
    lane = a_lane(some_limits(batch_records=2, batches_in_flight=2))
    lane.append(a_chunk([0, 1, 7], position=12))
    assert lane.take(now=0.0).next_offset == 7
    assert lane.take(now=0.0).next_offset == 12


def test_the_watermark_is_the_oldest_record_that_is_not_acknowledged() -> None:
    lane = a_lane(some_limits(batch_records=2, batches_in_flight=3))
    lane.append(a_chunk(range(6)))
    first, second, third = (lane.take(now=0.0) for _ in range(3))
    assert lane.watermark == 0
    lane.acknowledge(second)
    assert lane.watermark == 0
    lane.acknowledge(first)
    assert lane.watermark == 4
    lane.acknowledge(third)
    assert lane.watermark == 6


def test_records_that_wait_hold_the_watermark() -> None:
    lane = a_lane(some_limits(batch_records=1))
    lane.append(a_chunk([0, 5]))
    lane.acknowledge(lane.take(now=0.0))
    assert lane.watermark == 5


def test_a_position_that_moves_without_records_is_told_by_a_batch_and_acknowledged_before_it_counts() -> None:
    lane = a_lane()
    lane.append(a_chunk([0]))
    batch = lane.take(now=0.0)
    lane.append(a_chunk([], position=9))
    assert lane.watermark == 0
    lane.acknowledge(batch)
    assert lane.watermark == 1
    told = lane.take(now=0.0)
    assert (offsets_of(told), told.first_offset, told.last_offset, told.next_offset) == ([], 9, 8, 9)
    assert not lane.can_hand_over
    assert lane.watermark == 1
    lane.acknowledge(told)
    assert lane.watermark == 9
    assert not lane.can_hand_over


def test_a_lane_tells_where_it_begins_unless_nothing_lies_before() -> None:
    lane = a_lane(start=5)
    lane.append(a_chunk([], position=5))
    assert lane.watermark == 5
    told = lane.take(now=0.0)
    assert (len(told), told.next_offset, lane.watermark) == (0, 5, 5)
    lane.acknowledge(told)
    assert not lane.can_hand_over

    at_the_beginning = a_lane()
    at_the_beginning.append(a_chunk([], position=0))
    assert not at_the_beginning.can_hand_over


def test_what_was_told_in_vain_is_told_again_or_with_the_records_that_follow() -> None:
    lane = a_lane()
    lane.append(a_chunk([], position=3))
    lane.put_back(lane.take(now=0.0))
    assert lane.can_hand_over
    lane.append(a_chunk([4]))
    batch = lane.take(now=0.0)
    assert (offsets_of(batch), batch.next_offset) == ([4], 5)


def test_a_batch_is_acknowledged_once() -> None:
    lane = a_lane()
    lane.append(a_chunk([0]))
    batch = lane.take(now=0.0)
    assert lane.acknowledge(batch)
    assert not lane.acknowledge(batch)


def test_an_equal_batch_made_by_hand_settles_nothing() -> None:
    lane = a_lane()
    lane.append(a_chunk([0]))
    batch = lane.take(now=0.0)
    twin = RecordBatch.of(EVENTS, batch.records)
    assert twin == batch
    assert not lane.acknowledge(twin)
    assert lane.watermark == 0


def test_a_batch_that_did_not_reach_the_agent_is_handed_over_again() -> None:
    lane = a_lane()
    lane.append(a_chunk([0, 1]))
    lost = lane.take(now=0.0)
    lane.put_back(lost)
    lane.append(a_chunk([2]))
    again = lane.take(now=0.0)
    assert offsets_of(again) == [0, 1, 2]
    assert not lane.acknowledge(lost)
    assert lane.watermark == 0


def test_only_the_latest_batch_can_be_put_back() -> None:
    lane = a_lane(some_limits(batch_records=1, batches_in_flight=2))
    lane.append(a_chunk([0, 1]))
    first = lane.take(now=0.0)
    lane.take(now=0.0)
    with pytest.raises(LaneError):
        lane.put_back(first)


def test_a_closing_lane_hands_nothing_out_and_counts_what_is_acknowledged() -> None:
    lane = a_lane(some_limits(batch_records=1))
    lane.append(a_chunk([0, 1]))
    batch = lane.take(now=0.0)
    lane.close()
    assert lane.acknowledge(batch)
    assert lane.watermark == 1
    assert not lane.can_hand_over


def test_a_dropped_lane_counts_nothing_and_has_no_watermark() -> None:
    lane = a_lane()
    lane.append(a_chunk([0]))
    batch = lane.take(now=0.0)
    lane.drop()
    assert not lane.acknowledge(batch)
    assert lane.watermark is None
    assert lane.held_records == lane.held_bytes == 0


def test_records_from_before_the_position_are_refused() -> None:
    lane = a_lane()
    lane.append(a_chunk([0, 1, 2]))
    with pytest.raises(LaneError):
        lane.append(a_chunk([2, 3]))


def test_records_of_another_epoch_are_refused() -> None:
    with pytest.raises(LaneError):
        a_lane().append(a_chunk([0], epoch=2))


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        (LaneState.OPEN, LaneState.OPEN),
        (LaneState.CLOSING, LaneState.OPEN),
        (LaneState.DROPPED, LaneState.OPEN),
        (LaneState.DROPPED, LaneState.CLOSING),
    ],
)
def test_a_lane_never_goes_back(current: LaneState, wanted: LaneState) -> None:
    with pytest.raises(LaneError, match=f"{current.value} cannot become {wanted.value}"):
        step(current, wanted)


def test_what_is_held_counts_what_waits_and_what_is_in_flight() -> None:
    lane = a_lane(some_limits(batch_records=2))
    lane.append(a_chunk(range(5), value=b"123456789"))
    batch = lane.take(now=0.0)
    assert (lane.held_records, lane.held_bytes, lane.waiting_records) == (5, 50, 3)
    lane.acknowledge(batch)
    assert (lane.held_records, lane.held_bytes) == (3, 30)


def test_the_age_is_that_of_the_oldest_batch_not_acknowledged() -> None:
    lane = a_lane(some_limits(batch_records=1, batches_in_flight=2))
    lane.append(a_chunk([0, 1]))
    first = lane.take(now=5.0)
    lane.take(now=8.0)
    assert lane.oldest_handed_at == 5.0
    lane.acknowledge(first)
    assert lane.oldest_handed_at == 8.0
