"""The table of cases below is the proof that the rules say what an operator has to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.lag import LagStatus
from soma_streams.lag.rules import Sample, Trail, evaluate, follow

WINDOW = 60.0


def trail_of(samples: Sequence[Sample], window: float = WINDOW) -> Trail:
    trail = None
    for sample in samples:
        trail = follow(trail, sample, window)
    assert trail is not None
    return trail


def every(
    seconds: float, committed: Sequence[int | None], ends: Sequence[int], start: int = 0
) -> list[Sample]:
    """One sample after the other, from second 0 on."""
    assert len(committed) == len(ends)
    return [
        Sample(index * seconds, offset, start, end)
        for index, (offset, end) in enumerate(zip(committed, ends, strict=True))
    ]


@dataclass(frozen=True)
class Case:
    why: str
    samples: Sequence[Sample]
    status: LagStatus
    reason: str
    owned: bool | None = True
    later: float = 0.0


CASES = [
    Case(
        "An empty topic has nothing to read, for ever.",
        every(30, [None] * 5, [0] * 5),
        LagStatus.OK,
        "there is nothing to read",
        owned=False,
    ),
    Case(
        "Retention has emptied a log of which nothing was committed.",
        every(30, [None] * 5, [500] * 5, start=500),
        LagStatus.OK,
        "has read everything",
    ),
    Case(
        "At the end, for ever: an idle log is no stall.",
        every(30, [100] * 5, [100] * 5),
        LagStatus.OK,
        "has read everything",
    ),
    Case(
        "At the end, and nobody reads: there is nothing to be missed.",
        every(30, [100] * 5, [100] * 5),
        LagStatus.OK,
        "has read everything",
        owned=False,
    ),
    Case(
        "At the end at the newest look, whatever was before.",
        every(30, [0, 0, 0, 0, 100], [100] * 5),
        LagStatus.OK,
        "has read everything",
    ),
    Case(
        "It was at the end half a window ago: a burst that has just come is no trouble yet.",
        every(30, [100, 100, 100], [100, 100, 900]),
        LagStatus.OK,
        "had read everything 30 s ago",
    ),
    Case(
        "The same burst, and a window later nothing has moved: a member has it and does not get on.",
        every(30, [100, 100, 100, 100, 100], [100, 900, 900, 900, 900]),
        LagStatus.STALL,
        "a member has the partition, and offset 100 has not moved for 120 s",
    ),
    Case(
        "The same, and nobody has it.",
        every(30, [100, 100, 100, 100, 100], [100, 900, 900, 900, 900]),
        LagStatus.STOP,
        "no member of the group has the partition, and offset 100 has not moved for 120 s",
        owned=False,
    ),
    Case(
        "The brokers do not say who has it: the milder word, and that nobody knows.",
        every(30, [100, 100, 100, 100, 100], [100, 900, 900, 900, 900]),
        LagStatus.STALL,
        "nobody knows whether a member has the partition, and offset 100 has not moved for 120 s",
        owned=None,
    ),
    Case(
        "A group that assigns its partitions by hand has no members, and reads.",
        every(30, [100, 200, 300, 400], [500, 600, 650, 700]),
        LagStatus.OK,
        "the lag shrank just now",
        owned=False,
    ),
    Case(
        "Records come while it stands.",
        every(30, [100, 100, 100], [200, 300, 400]),
        LagStatus.STALL,
        "a member has the partition, and offset 100 has not moved for 60 s",
    ),
    Case(
        "Nothing was ever committed, and the log has something: that is behind, too.",
        every(30, [None, None, None], [5, 5, 5]),
        LagStatus.STALL,
        "a member has the partition, and nothing was committed for 60 s",
    ),
    Case(
        "Behind and still, but looked at for half a window: nobody can say.",
        every(30, [100, 100], [200, 200]),
        LagStatus.UNKNOWN,
        "looked at for 30 s only, and it has not moved in that time",
    ),
    Case(
        "One look at what is behind says nothing.",
        every(30, [100], [200]),
        LagStatus.UNKNOWN,
        "looked at for 0 s only, and it has not moved in that time",
    ),
    Case(
        "Looked at for half a window, and it moves.",
        every(15, [100, 150, 180], [1000, 1100, 1200]),
        LagStatus.OK,
        "moved just now",
    ),
    Case(
        "It moves, and the lag grows all the time.",
        every(30, [100, 110, 120, 130], [200, 300, 400, 500]),
        LagStatus.WARN,
        "reads, but the lag has not shrunk for 60 s",
    ),
    Case(
        "It moves, and the lag stays as it is: it never gets there.",
        every(30, [100, 110, 120, 130], [200, 210, 220, 230]),
        LagStatus.WARN,
        "reads, but the lag has not shrunk for 60 s",
    ),
    Case(
        "The lag grew, and shrank once within the window.",
        every(20, [100, 110, 180, 190, 195], [200, 300, 301, 400, 500]),
        LagStatus.OK,
        "the lag shrank 40 s ago",
    ),
    Case(
        "The lag shrank once, before the window.",
        every(20, [100, 190, 195, 196, 197], [200, 210, 300, 400, 500]),
        LagStatus.WARN,
        "reads, but the lag has not shrunk for 60 s",
    ),
    Case(
        "Thrown back to the beginning, and reading on.",
        every(30, [1000, 0, 50], [1000, 1000, 1000]),
        LagStatus.REWIND,
        "went back from offset 1000 to 50 30 s ago",
    ),
    Case(
        "Thrown back although it was at the end within the window: that hides nothing.",
        every(10, [1000, 1000, 400], [1000, 1000, 1010]),
        LagStatus.REWIND,
        "went back from offset 1000 to 400 just now",
    ),
    Case(
        "Back a little, as after a rebalance, and there again: nothing is held against it.",
        every(15, [1000, 900, 1000, 1050], [1100, 1200, 1300, 1300]),
        LagStatus.OK,
        "moved just now",
    ),
    Case(
        "Back twice: it has to come to where it was first.",
        every(15, [1000, 800, 700, 850], [1100, 1100, 1100, 1100]),
        LagStatus.REWIND,
        "went back from offset 1000 to 850 15 s ago",
    ),
    Case(
        "Thrown back long ago, then back a little and there again: the old one is no longer held against it.",
        every(30, [1000, 0, 100, 200, 150, 250], [1000] * 6),
        LagStatus.OK,
        "the lag shrank just now",
    ),
    Case(
        "Thrown back longer ago than the window, and getting on.",
        every(30, [1000, 0, 100, 300, 500], [1000] * 5),
        LagStatus.OK,
        "the lag shrank just now",
    ),
    Case(
        "Its commits were deleted: it has lost its place.",
        every(30, [1000, 1000, None], [1000] * 3),
        LagStatus.REWIND,
        "went back from offset 1000 to 0 just now",
    ),
    Case(
        "Set forwards past what it had not read: it has caught up.",
        every(30, [0, 0, 0, 1000], [1000] * 4),
        LagStatus.OK,
        "has read everything",
    ),
    Case(
        "The log ends before its place: it waits for what comes under other offsets, or not at all.",
        every(30, [1000, 1000], [20, 30]),
        LagStatus.STALL,
        "waits for offset 1000, but the log ends at 30: it was cut off or made anew",
    ),
    Case(
        "Retention has overtaken it, and it gets on.",
        [Sample(0, 100, 0, 900), Sample(30, 110, 200, 900), Sample(50, 120, 200, 900)],
        LagStatus.WARN,
        "80 offsets were deleted before it came to them",
    ),
    Case(
        "Retention has overtaken it, and it stands.",
        [Sample(0, 100, 0, 900), Sample(60, 100, 200, 900)],
        LagStatus.STALL,
        "a member has the partition, and offset 100 has not moved for 60 s",
    ),
    Case(
        "Retention has deleted everything that it had not read: nothing is left to be read.",
        [Sample(0, 100, 0, 900), Sample(30, 100, 900, 900)],
        LagStatus.OK,
        "has read everything",
    ),
    Case(
        "No sample came for long: what was last known is as old as that.",
        every(30, [100, 100], [200, 200]),
        LagStatus.STALL,
        "a member has the partition, and offset 100 has not moved for 90 s",
        later=60.0,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.why for case in CASES])
def test_the_rules_in_cases(case: Case) -> None:
    trail = trail_of(case.samples)

    verdict = evaluate(trail, trail.latest.at + case.later, WINDOW, owned=case.owned)

    assert verdict == (case.status, case.reason)


def test_a_worse_status_has_a_higher_severity() -> None:
    assert [each.severity for each in LagStatus] == [0, 1, 2, 3, 4, 5]
    assert [each for each in LagStatus if each.failing] == ["STALL", "STOP", "REWIND"]


steps = st.lists(
    st.tuples(
        st.integers(1, 40), st.integers(-50, 200), st.integers(0, 200), st.integers(0, 20), st.booleans()
    ),
    min_size=1,
    max_size=30,
)


@st.composite
def histories(draw: st.DrawFn) -> list[Sample]:
    """Samples as a log gives them: ends and starts only grow, and nothing is committed past the end."""
    at, committed, start, end = 0.0, 100, 0, 200
    samples = []
    for pause, moved, written, deleted, nothing in draw(steps):
        at += pause
        end += written
        start = min(end, start + deleted)
        committed = max(0, min(end, committed + moved))
        samples.append(Sample(at, None if nothing else committed, start, end))
    return samples


@given(histories(), st.sampled_from([True, False, None]))
def test_what_has_nothing_to_read_is_never_in_trouble(samples: list[Sample], owned: bool | None) -> None:  # noqa: FBT001
    trail = trail_of([*samples, samples[-1]._replace(committed=samples[-1].end, at=samples[-1].at + 1)])

    assert evaluate(trail, trail.latest.at, WINDOW, owned=owned).status is LagStatus.OK


@given(histories())
def test_only_whether_somebody_reads_tells_a_stop_from_a_stall(samples: list[Sample]) -> None:
    trail = trail_of(samples)
    with_reader = evaluate(trail, trail.latest.at, WINDOW, owned=True).status
    without = evaluate(trail, trail.latest.at, WINDOW, owned=False).status

    swapped = {LagStatus.STALL: LagStatus.STOP}
    assert without is swapped.get(with_reader, with_reader)


@given(histories())
def test_what_stands_still_for_a_window_with_something_to_read_is_always_told(samples: list[Sample]) -> None:
    last = samples[-1]
    still = [last._replace(at=last.at + pause, end=last.end + 1) for pause in (20, 40, 60, 81)]
    trail = trail_of([*samples, *still])

    assert evaluate(trail, trail.latest.at, WINDOW, owned=True).status is LagStatus.STALL


@given(histories())
def test_the_trail_forgets_the_samples_and_not_what_they_say(samples: list[Sample]) -> None:
    now = samples[-1].at
    recent = [(before, after) for before, after in pairwise(samples) if now - after.at < WINDOW]
    went_back = any(after.position < before.position for before, after in recent)
    was_at_the_end = any(not each.lag for each in samples if now - each.at < WINDOW)
    moved = now - samples[0].at < WINDOW or any(
        after.committed != before.committed for before, after in recent
    )

    status = evaluate(trail_of(samples), now, WINDOW, owned=True).status

    assert went_back or status is not LagStatus.REWIND
    assert went_back or not was_at_the_end or status is LagStatus.OK
    assert (status is LagStatus.STALL) == (not moved and not was_at_the_end)


@given(histories())
def test_what_is_as_far_as_it_ever_was_has_not_gone_back(samples: list[Sample]) -> None:
    furthest = max(each.position for each in samples)
    samples = [each._replace(end=max(each.end, furthest + 1)) for each in samples]
    last = samples[-1]._replace(at=samples[-1].at + 1, committed=furthest)

    trail = trail_of([*samples, last])

    assert evaluate(trail, last.at, WINDOW, owned=True).status is not LagStatus.REWIND
