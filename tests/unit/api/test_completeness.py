"""When an index counts as complete: what it says of itself, against what was ever settled into it."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import pytest

from fakes import FakeClock
from soma_api.index_completeness import UNKNOWN, Completeness, IndexState, state_of
from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas.groups import SinkGroup
from soma_schemas.topic_admin import BrokerError
from soma_schemas.vectors.progress import Fill, Header, Held, LogIdentity

_LOG = LogIdentity("ours", 1)
_HEADER = Header(UUID(int=1), _LOG, from_records=False)
_FROM_RECORDS = Header(UUID(int=2), _LOG, from_records=True)


def a_fill(filled: int, total: int, *, done: bool = False) -> Fill:
    """A fill from the records."""
    return Fill(filled, total, ("acme", UUID(int=9)), {0: 5}, done)


@pytest.mark.parametrize(
    ("held", "identity", "settled", "state"),
    [
        # New, and nothing was settled yet.
        (Held(_HEADER, {}, None), _LOG, {0: 0, 1: 0}, IndexState(complete=True, filled=1.0)),
        (Held(_HEADER, {0: 10, 1: 30}, None), _LOG, {0: 10, 1: 30}, IndexState(complete=True, filled=1.0)),
        # A watermark follows what it tells of.
        (Held(_HEADER, {0: 11, 1: 30}, None), _LOG, {0: 10, 1: 30}, IndexState(complete=True, filled=1.0)),
        # Lost, and being read again.
        (Held(_HEADER, {}, None), _LOG, {0: 10, 1: 30}, IndexState(complete=False, filled=0.0)),
        (Held(_HEADER, {0: 10}, None), _LOG, {0: 10, 1: 30}, IndexState(complete=False, filled=0.25)),
        (Held(_HEADER, {0: 99}, None), _LOG, {0: 10, 1: 30}, IndexState(complete=False, filled=0.25)),
        # Being filled from the records, whatever was settled.
        (Held(_FROM_RECORDS, {}, None), _LOG, {0: 0}, IndexState(complete=False, filled=0.0)),
        (Held(_FROM_RECORDS, {}, a_fill(3, 4)), _LOG, {0: 0}, IndexState(complete=False, filled=0.75)),
        (Held(_FROM_RECORDS, {}, a_fill(0, 0)), _LOG, {0: 0}, IndexState(complete=False, filled=0.0)),
        (Held(_FROM_RECORDS, {}, a_fill(9, 4)), _LOG, {0: 0}, IndexState(complete=False, filled=1.0)),
        # Filled, and then read on.
        (
            Held(_FROM_RECORDS, {0: 5}, a_fill(4, 4, done=True)),
            _LOG,
            {0: 10},
            IndexState(complete=False, filled=0.5),
        ),
        (
            Held(_FROM_RECORDS, {0: 10}, a_fill(4, 4, done=True)),
            _LOG,
            {0: 10},
            IndexState(complete=True, filled=1.0),
        ),
        # It says nothing, or holds another log, or nobody knows which log this is.
        (None, _LOG, {0: 0}, UNKNOWN),
        (Held(_HEADER, {0: 10}, None), LogIdentity("made anew", 1), {0: 10}, UNKNOWN),
        (Held(_HEADER, {0: 10}, None), LogIdentity("ours", 2), {0: 10}, UNKNOWN),
        (Held(_HEADER, {0: 10}, None), None, {0: 10}, UNKNOWN),
    ],
)
def test_an_index_is_complete_when_it_has_all_that_was_settled(
    held: Held | None, identity: LogIdentity | None, settled: dict[int, int], state: IndexState
) -> None:
    assert state_of(held, identity, settled) == state


class Points:
    """An index that holds what the test says, and counts how often it is asked."""

    def __init__(self) -> None:
        self.held: dict[UUID, Mapping[str, Any]] = {}
        self.asked = 0

    async def read(self, ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return what is there."""
        self.asked += 1
        return {place: self.held[place] for place in ids if place in self.held}

    def begin(self, header: Header, next_offset: int) -> None:
        """Be an index that has this much of partition 0."""
        points = [header.point(), header.progress_point(0, next_offset)]
        self.held = {point.id: point.payload for point in points}


class Brokers:
    """Brokers that tell which log this is at the second try."""

    def __init__(self) -> None:
        self.tries = 0

    async def identity(self) -> LogIdentity:
        """Tell, or be away."""
        self.tries += 1
        if self.tries == 1:
            raise BrokerError("away")
        return _LOG


async def test_nothing_is_complete_before_the_watermarks_are_heard_and_the_log_is_known() -> None:
    waiter, points, brokers = WatermarkWaiter(), Points(), Brokers()
    points.begin(_HEADER, 10)
    completeness = Completeness(
        points=points, waiter=waiter, identify=brokers.identity, partitions=range(1), clock=FakeClock()
    )

    deaf = await completeness.look()
    waiter.informed = True
    waiter.advance(SinkGroup.VECTORS, 0, 10)
    nameless = await completeness.look()
    await completeness.run()

    assert (deaf, nameless) == (UNKNOWN, UNKNOWN)
    assert await completeness.look() == IndexState(complete=True, filled=1.0)


async def test_an_index_that_is_made_anew_while_it_is_asked_is_seen_at_the_next_look() -> None:
    waiter, points, brokers = WatermarkWaiter(), Points(), Brokers()
    waiter.informed = True
    waiter.advance(SinkGroup.VECTORS, 0, 10)
    completeness = Completeness(
        points=points, waiter=waiter, identify=brokers.identity, partitions=range(1), clock=FakeClock()
    )
    await completeness.run()
    points.begin(_HEADER, 10)
    assert (await completeness.look()).complete
    points.asked = 0
    assert (await completeness.look()).complete
    assert points.asked == 1

    points.held = {}
    assert await completeness.look() == UNKNOWN
    points.begin(Header(UUID(int=7), _LOG, from_records=False), 4)

    assert await completeness.look() == IndexState(complete=False, filled=0.4)
