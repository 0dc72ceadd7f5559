"""When records were appended, from ends that were seen and from what the brokers answered."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_streams.lag.append_times import AppendTimes


def seen(*ends: tuple[int, float]) -> AppendTimes:
    times = AppendTimes()
    for end, now in ends:
        times.ended(end, now)
    return times


def test_records_between_two_ends_are_spread_evenly() -> None:
    times = seen((100, 10.0), (109, 20.0))

    assert [times.at(offset) for offset in (100, 104, 108)] == [11.0, 15.0, 19.0]
    assert times.between(104) == (10.0, 20.0)


def test_the_first_record_after_idleness_is_as_young_as_the_last_idle_look_allows() -> None:
    times = seen((100, 10.0), (100, 20.0), (100, 500.0), (101, 510.0))

    assert times.between(100) == (500.0, 510.0)
    assert times.at(100) == 505.0
    assert len(times) == 3  # however long it was idle


def test_what_was_not_seen_is_not_guessed() -> None:
    times = seen((100, 10.0), (110, 20.0))

    assert times.at(99) is None
    assert times.at(110) is None
    assert times.between(99) == (None, 10.0)
    assert times.between(110) == (20.0, None)
    assert AppendTimes().at(0) is None


def test_a_record_that_the_brokers_found_is_known_exactly() -> None:
    times = seen((100, 10.0), (110, 20.0))

    times.found(105, since=12.0, appended=13.0)

    assert times.at(105) == 13.0
    assert times.between(105) == (13.0, 13.0)
    assert times.between(104) == (10.0, 12.0)
    assert times.between(106) == (13.0, 20.0)


def test_that_nothing_came_since_narrows_from_above() -> None:
    times = seen((100, 10.0), (110, 20.0))

    times.none_since(110, since=11.0)

    assert times.between(105) == (10.0, 11.0)


def test_a_clock_that_contradicts_what_was_seen_is_not_believed() -> None:
    times = seen((100, 10.0), (110, 20.0))

    times.found(105, since=5000.0, appended=5000.0)

    assert times.between(105) == (20.0, 20.0)
    times.found(103, since=-5000.0, appended=-5000.0)
    assert times.between(103) == (10.0, 10.0)


def test_an_end_that_went_back_begins_anew() -> None:
    times = seen((100, 10.0), (110, 20.0), (5, 30.0), (15, 40.0))

    assert times.at(105) is None
    assert times.between(10) == (30.0, 40.0)


def test_what_everybody_has_read_is_forgotten() -> None:
    times = seen(*((10 * index, float(index)) for index in range(20)))

    times.forget_before(95)

    assert times.between(95) == (9.0, 10.0)
    assert times.between(89) == (None, 9.0)


def test_memory_is_bounded_however_long_a_group_stands() -> None:
    times = AppendTimes()
    for index in range(100_000):
        times.ended(index, float(index))
        assert len(times) <= 64

    newest = [times.between(offset) for offset in range(99_970, 99_999)]
    assert all(last is not None and first is not None and last - first <= 1 for first, last in newest)


appends = st.lists(st.floats(0.0, 50.0), min_size=2, max_size=60).map(lambda gaps: list(accumulate(gaps)))


@given(appends, st.lists(st.floats(0.0, 1.0), max_size=20), st.lists(st.floats(0.0, 1.0), max_size=20))
def test_the_truth_always_lies_between_and_the_guess_too(
    log: Sequence[float], looks: Sequence[float], questions: Sequence[float]
) -> None:
    """`log` has the time of each record; looks see its end, questions find a record, as the brokers would."""
    last = log[-1]
    times = AppendTimes()
    for now in sorted(share * last for share in looks):
        times.ended(sum(each <= now for each in log), now)
    times.ended(len(log), last)
    for since in (share * last for share in questions):
        offset = next((index for index, each in enumerate(log) if each >= since), None)
        if offset is None:
            times.none_since(len(log), since)
        else:
            times.found(offset, since, log[offset])

    for offset, truth in enumerate(log):
        earliest, latest = times.between(offset)
        assert earliest is None or earliest <= truth
        assert latest is not None
        assert latest >= truth
        guess = times.at(offset)
        assert (guess is None) == (earliest is None)
        if guess is not None and earliest is not None:
            assert earliest <= guess <= latest


@given(appends)
def test_a_later_record_is_never_said_to_be_older(log: Sequence[float]) -> None:
    times = seen(*((index, now) for index, now in enumerate(log)))

    guesses = [guess for offset in range(len(log)) if (guess := times.at(offset)) is not None]

    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(guesses))


@pytest.mark.parametrize("lag_seconds", [1.0, 60.0, 86_400.0])
def test_halving_finds_the_record_to_a_twentieth_of_its_age(lag_seconds: float) -> None:
    now, count = 1_000_000.0, 10_000
    log = [now - 2 * lag_seconds + index * 2 * lag_seconds / count for index in range(count)]
    times = AppendTimes()
    times.found(0, 0.0, log[0])
    times.ended(count, now)
    wanted = count // 2
    for _ in range(12):
        earliest, latest = times.between(wanted)
        assert earliest is not None
        assert latest is not None
        since = (earliest + latest) / 2
        offset = next(index for index, each in enumerate(log) if each >= since)
        times.found(offset, since, log[offset])

    found = times.at(wanted)
    assert found is not None
    assert abs((now - found) - lag_seconds) < lag_seconds / 20
