"""A replay as a whole, on stand-ins for what is proven elsewhere: order, rate, end, failures, and breaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any
from uuid import UUID

import pytest

from builders import A_MOMENT, an_id, stored
from dead_letters import a_dead_letter, a_dead_record
from fakes import FakeClock
from soma_schemas.settings import TopicSettings
from soma_schemas.versions import Position
from soma_streams.replay.originals import Gone
from soma_streams.replay.outcomes import Outcome, Sent, State
from soma_streams.replay.replaying import Pace, Replayer, Report, Stopped, Unpublished
from soma_streams.replay.republishing import Outgoing, Refusal
from soma_streams.replay.stored_dead_letters import (
    Action,
    Deed,
    Filters,
    Original,
    Place,
    Status,
    StoredDeadLetter,
    place_of,
)
from soma_streams.transport.records import Record

DONE = Outcome(State.APPLIED, None, State.SETTLED, None)
AGAIN = Outcome(State.DEAD_LETTERED, "avro", State.SETTLED, None)
DEED = Deed(Action.REPLAY, an_id(), "tester", A_MOMENT)
EVERYTHING = {0: 2**40}


@dataclass
class World:
    """An index, a topic and sinks in memory; `dead letters` is what the index has."""

    dead_letters: list[StoredDeadLetter]
    gone: dict[UUID, Gone] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    in_time: bool = True
    published: list[Outgoing] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    breaks_after: int | None = None

    async def originals(
        self, filters: Filters, ends: Mapping[int, int], after: Place | None, limit: int
    ) -> list[Original]:
        fitting = [
            dead_letter
            for dead_letter in sorted(self.dead_letters, key=place_of)
            if dead_letter.status in filters.statuses
            and dead_letter.dlq_offset < ends.get(dead_letter.dlq_partition, 0)
            and (after is None or place_of(dead_letter) > after)
        ]
        events = [Original(place, tuple(group)) for place, group in groupby(fitting, key=place_of)]
        return events[:limit]

    async def decide(
        self,
        dead_letters: Sequence[StoredDeadLetter],
        status: Status,
        deed: Deed,
        details: Sequence[Mapping[str, Any]],
    ) -> None:
        assert len(dead_letters) == len(details)
        assert deed == DEED
        if self.breaks_after is not None and len(self.published) > self.breaks_after:
            raise ConnectionError("the database went away")
        ids = {dead_letter.id for dead_letter in dead_letters}
        self.dead_letters = [
            replace(each, status=status) if each.id in ids else each for each in self.dead_letters
        ]

    async def read(self, dead_letters: Sequence[StoredDeadLetter]) -> Mapping[UUID, Record | Gone]:
        return {
            dead_letter.id: self.gone.get(dead_letter.id)
            or a_dead_record(stored(key="tea"), dead_letter.log_offset or 0)
            for dead_letter in dead_letters
        }

    async def publish(self, events: Sequence[Outgoing]) -> list[Position | Refusal]:
        answers: list[Position | Refusal] = []
        for event in events:
            offset = event.version % 2**40
            if offset in self.refused:
                answers.append(Refusal.TOO_LARGE)
                continue
            answers.append(Position(0, 1000 + len(self.published)))
            self.published.append(event)
        return answers

    async def of(self, sent: Sequence[Sent], seconds: float) -> tuple[list[Outcome], bool]:
        self.waits.append(seconds)
        return [self.outcomes.get(event.version % 2**40, DONE) for event in sent], self.in_time

    def offsets(self) -> list[int]:
        return [event.version % 2**40 for event in self.published]

    def statuses(self) -> dict[int | None, Status]:
        return {dead_letter.log_offset: dead_letter.status for dead_letter in self.dead_letters}


async def replayed(
    world: World,
    pace: Pace | None = None,
    *,
    clock: FakeClock | None = None,
    filters: Filters | None = None,
    ends: Mapping[int, int] = EVERYTHING,
) -> Report:
    replayer = Replayer(
        index=world,
        reader=world,
        publisher=world,
        watcher=world,
        topics=TopicSettings(),
        clock=clock or FakeClock(),
    )
    return await replayer.replay(filters or Filters(), ends, DEED, pace or Pace(rate=1000))


async def test_events_are_published_in_the_order_of_the_log_and_their_dead_letters_marked() -> None:
    world = World([a_dead_letter(offset) for offset in (5, 1, 3)])

    report = await replayed(world)

    assert world.offsets() == [1, 3, 5]
    assert set(world.statuses().values()) == {Status.REPLAYED}
    assert (report.published, report.dead_letters) == (3, 3)
    assert report.records == {State.APPLIED: 3}


async def test_an_event_that_two_groups_gave_up_on_is_published_once() -> None:
    world = World([a_dead_letter(1), a_dead_letter(1, consumer_group="soma-vectors", dlq_offset=9)])

    report = await replayed(world)

    assert world.offsets() == [1]
    assert (report.published, report.dead_letters) == (1, 2)


async def test_one_dead_letter_of_two_is_enough_to_have_the_original() -> None:
    dead_letters = [a_dead_letter(1), a_dead_letter(1, consumer_group="soma-vectors", dlq_offset=9)]
    world = World(dead_letters, gone={dead_letters[0].id: Gone.TRIMMED})

    assert (await replayed(world)).published == 1


async def test_a_run_ends_at_the_dead_letters_that_were_there_when_it_began() -> None:
    world = World([a_dead_letter(1), a_dead_letter(2), a_dead_letter(3)])

    await replayed(world, ends={0: 3})

    assert world.offsets() == [1, 2]
    assert world.statuses()[3] is Status.OPEN


async def test_what_was_replayed_is_not_replayed_by_another_run() -> None:
    world = World(
        [
            a_dead_letter(1),
            a_dead_letter(2, status=Status.REPLAYED),
            a_dead_letter(3, status=Status.DISCARDED),
        ]
    )

    await replayed(world)
    report = await replayed(world)

    assert world.offsets() == [1]
    assert report.published == 0


async def test_a_run_that_was_interrupted_is_simply_run_again() -> None:
    world = World([a_dead_letter(offset) for offset in range(6)], breaks_after=3)

    with pytest.raises(ConnectionError):
        await replayed(world, Pace(rate=2))
    before = world.statuses()
    world.breaks_after = None
    await replayed(world, Pace(rate=2))

    assert list(before.values()).count(Status.REPLAYED) == 2
    assert set(world.statuses().values()) == {Status.REPLAYED}
    assert world.offsets() == [0, 1, 2, 3, 2, 3, 4, 5]


@pytest.mark.parametrize(("rate", "seconds"), [(10.0, 4.0), (2.0, 24.0), (0.5, 98.0)])
async def test_the_rate_is_kept(rate: float, seconds: float) -> None:
    clock = FakeClock()
    world = World([a_dead_letter(offset) for offset in range(50)])

    await replayed(world, Pace(rate=rate), clock=clock)

    assert len(world.published) == 50
    assert sum(clock.slept) == pytest.approx(seconds)


async def test_no_more_events_than_asked() -> None:
    world = World([a_dead_letter(offset) for offset in range(50)])

    report = await replayed(world, Pace(rate=7, most=20))

    assert world.offsets() == list(range(20))
    assert report.published == 20


async def test_what_cannot_be_published_stays_open_and_is_told() -> None:
    dead_letters = [a_dead_letter(offset) for offset in range(5)]
    world = World(
        dead_letters, gone={dead_letters[0].id: Gone.TRIMMED, dead_letters[1].id: Gone.REPLACED}, refused={3}
    )

    report = await replayed(world)

    assert world.offsets() == [2, 4]
    assert report.unpublished == {
        Unpublished.TRIMMED: 1, Unpublished.REPLACED: 1, Unpublished.TOO_LARGE: 1,
    }  # fmt: skip
    assert [offset for offset, status in world.statuses().items() if status is Status.OPEN] == [0, 1, 3]


async def test_a_run_that_shall_stop_at_a_failure_does() -> None:
    world = World([a_dead_letter(offset) for offset in range(20)], outcomes={7: AGAIN})

    report = await replayed(world, Pace(rate=5, stop_on_error=True))

    assert report.stopped is Stopped.AT_AN_ERROR
    assert world.offsets() == list(range(10))
    assert report.failed_again == 1
    assert [event.dead_letters[0].log_offset for event in report.events if event.failed] == [7]


async def test_a_run_whose_events_all_fail_again_stops_before_the_sinks_do() -> None:
    world = World([a_dead_letter(offset) for offset in range(500)], outcomes=dict.fromkeys(range(500), AGAIN))

    report = await replayed(world)

    assert report.stopped is Stopped.HOPELESS
    assert (report.published, report.failed_again) == (10, 10)


async def test_a_run_that_had_come_to_its_end_was_not_stopped() -> None:
    world = World([a_dead_letter(offset) for offset in range(10)], outcomes=dict.fromkeys(range(10), AGAIN))

    report = await replayed(world, Pace(rate=1000, stop_on_error=True))

    assert report.failed_again == 10
    assert report.stopped is None


async def test_a_run_goes_on_while_most_events_do_well() -> None:
    world = World(
        [a_dead_letter(offset) for offset in range(500)], outcomes=dict.fromkeys(range(0, 500, 3), AGAIN)
    )

    report = await replayed(world)

    assert report.stopped is None
    assert (report.published, report.failed_again) == (500, 167)


async def test_a_run_that_shall_keep_going_does() -> None:
    world = World([a_dead_letter(offset) for offset in range(500)], outcomes=dict.fromkeys(range(500), AGAIN))

    report = await replayed(world, Pace(rate=1000, keep_going=True))

    assert report.failed_again == 500


async def test_a_sink_that_is_away_is_waited_for_once() -> None:
    world = World([a_dead_letter(offset) for offset in range(20)], in_time=False, outcomes={})

    report = await replayed(world, Pace(rate=5, wait_seconds=30))

    assert world.waits == [30]
    assert report.published == 20
    assert report.records[State.PENDING] == 15


async def test_nobody_has_to_wait() -> None:
    world = World([a_dead_letter(1)])

    report = await replayed(world, Pace(rate=5, wait_seconds=0))

    assert world.waits == []
    assert report.records == {State.PENDING: 1}
