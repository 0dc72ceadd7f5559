"""When a group will have caught up, and how long until retention overtakes it."""

from soma_streams.lag.estimates import Retention, catch_up_seconds, headroom_records, headroom_seconds
from soma_streams.lag.rules import Sample, Trail, follow

WINDOW = 60.0
BY_AGE = Retention(seconds=3600.0, by_size=False)


def trail_of(*samples: Sample) -> Trail:
    trail = None
    for sample in samples:
        trail = follow(trail, sample, WINDOW)
    assert trail is not None
    return trail


def test_a_lag_that_shrinks_is_gone_when_its_pace_says() -> None:
    trail = trail_of(Sample(0, 0, 0, 1000), Sample(10, 150, 0, 1050))

    # From 1000 to 900 in 10 s: 900 more take 90 s.
    assert catch_up_seconds(trail) == 90.0


def test_nothing_to_read_needs_no_time() -> None:
    assert catch_up_seconds(trail_of(Sample(0, 7, 0, 7))) == 0.0


def test_a_lag_that_does_not_shrink_has_no_end() -> None:
    assert catch_up_seconds(trail_of(Sample(0, 0, 0, 10), Sample(10, 5, 0, 15))) is None
    assert catch_up_seconds(trail_of(Sample(0, 0, 0, 10))) is None


def test_what_retention_deletes_is_not_read() -> None:
    assert catch_up_seconds(trail_of(Sample(0, 0, 0, 1000), Sample(10, 0, 500, 1000))) is None


def test_the_pace_is_that_of_late() -> None:
    slow = [Sample(at, at, 0, 100_000) for at in range(0, 600, 10)]
    fast = [Sample(600 + at, 600 + 100 * at, 0, 100_000) for at in range(0, 130, 10)]

    estimate = catch_up_seconds(trail_of(*slow, *fast))

    assert estimate is not None
    assert 800 < estimate < 1000  # 87,400 at 100 a second


def test_headroom_is_what_may_be_deleted_before_the_first_unread_record() -> None:
    assert headroom_records(trail_of(Sample(0, 700, 200, 1000))) == 500
    assert headroom_records(trail_of(Sample(0, 100, 200, 1000))) == 0
    assert headroom_records(trail_of(Sample(0, None, 200, 1000))) == 0


def test_headroom_in_time_is_what_is_left_of_the_records_life() -> None:
    trail = trail_of(Sample(0, 700, 200, 1000))

    assert headroom_seconds(trail, 600.0, BY_AGE) == 3000.0
    assert headroom_seconds(trail, 0.0, BY_AGE) == 3600.0
    assert headroom_seconds(trail, 5000.0, BY_AGE) == 0.0


def test_nobody_knows_the_headroom_of_a_record_of_unknown_age() -> None:
    assert headroom_seconds(trail_of(Sample(0, 700, 200, 1000)), None, BY_AGE) is None


def test_what_is_kept_for_ever_has_no_headroom_in_time() -> None:
    kept = Retention(seconds=None, by_size=False)

    assert headroom_seconds(trail_of(Sample(0, 700, 200, 1000)), 600.0, kept) is None


def test_where_size_decides_headroom_goes_as_records_come() -> None:
    trail = trail_of(Sample(0, 700, 200, 1000), Sample(10, 700, 200, 1100))

    # 500 offsets before it, 10 come a second.
    assert headroom_seconds(trail, 600.0, Retention(seconds=None, by_size=True)) == 50.0
    assert headroom_seconds(trail, 600.0, Retention(seconds=3600.0, by_size=True)) == 50.0
    assert headroom_seconds(trail, 3590.0, Retention(seconds=3600.0, by_size=True)) == 10.0
