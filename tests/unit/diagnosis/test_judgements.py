"""What the doctor makes of what it measured."""

import pytest

from soma_cli.diagnosis import judgements
from soma_cli.diagnosis.findings import Health
from soma_schemas.lag import GroupLag, LagReport, LagStatus

GIGABYTE = 1024**3


def a_group(
    status: LagStatus = LagStatus.OK,
    *,
    name: str = "soma-postgres",
    headroom_seconds: float | None = None,
    catch_up_seconds: float | None = None,
) -> GroupLag:
    return GroupLag(
        group=name, status=status, reason="because", lag_records=7, lag_seconds=1.0, headroom_records=None,
        headroom_seconds=headroom_seconds, catch_up_seconds=catch_up_seconds, state="Stable", members=(),
        partitions=(), history=(),
    )  # fmt: skip


def judged(
    *groups: GroupLag, expected: tuple[str, ...] = (), failure: str | None = None, age_seconds: float = 1.0
) -> list[tuple[Health, str | None]]:
    report = LagReport(at=None, age_seconds=age_seconds, failure=failure, groups=groups)
    return [(each.health, each.about) for each in judgements.groups(report, list(expected), "collector")]


@pytest.mark.parametrize(
    ("ahead", "uncertain", "health"),
    [
        (0.0, 0.1, Health.OK),
        (-0.9, 0.0, Health.OK),
        (1.5, 1.0, Health.OK),
        (1.5, 0.1, Health.WARNING),
        (-29.0, 0.0, Health.WARNING),
        (-31.0, 0.5, Health.FAILED),
        (3600.0, 2.0, Health.FAILED),
    ],
)
def test_a_clock_is_judged_by_what_is_certain(ahead: float, uncertain: float, health: Health) -> None:
    assert judgements.clock("it", ahead, uncertain).health is health


def test_a_clock_that_is_wrong_is_said_to_be_ahead_or_behind() -> None:
    assert "ahead of" in judgements.clock("it", 60.0, 0.0).found
    assert "behind" in judgements.clock("it", -60.0, 0.0).found


def test_records_only_tell_of_a_clock_that_is_ahead() -> None:
    assert judgements.newest_record("brokers", None).health is Health.OK
    assert judgements.newest_record("brokers", -86_400.0).health is Health.OK
    assert judgements.newest_record("brokers", 10.0).health is Health.WARNING


@pytest.mark.parametrize(
    ("total", "free", "health"),
    [
        (100 * GIGABYTE, 50 * GIGABYTE, Health.OK),
        (100 * GIGABYTE, 3 * GIGABYTE, Health.OK),
        (100 * GIGABYTE, GIGABYTE, Health.WARNING),
        (4 * GIGABYTE, GIGABYTE, Health.OK),
        (100 * GIGABYTE, 1024**2, Health.FAILED),
        (100 * GIGABYTE, 0, Health.FAILED),
    ],
)
def test_a_disk_is_judged_by_its_room(total: int, free: int, health: Health) -> None:
    verdict = judgements.room("disk", total, free)

    assert verdict.health is health
    assert (verdict.remedy is None) == (health is Health.OK)


def test_a_server_without_free_connections_is_warned_of() -> None:
    assert judgements.connections("it", 89, 100).health is Health.OK
    assert judgements.connections("it", 90, 100).health is Health.WARNING


@pytest.mark.parametrize(
    ("status", "health"),
    [
        (LagStatus.OK, Health.OK),
        (LagStatus.UNKNOWN, Health.WARNING),
        (LagStatus.WARN, Health.WARNING),
        (LagStatus.STALL, Health.FAILED),
        (LagStatus.STOP, Health.FAILED),
        (LagStatus.REWIND, Health.FAILED),
    ],
)
def test_a_group_is_judged_by_its_status(status: LagStatus, health: Health) -> None:
    assert judged(a_group(status), expected=("soma-postgres",)) == [(health, "soma-postgres")]


def test_a_group_that_catches_up_too_late_fails_although_it_gets_on() -> None:
    late = a_group(LagStatus.OK, headroom_seconds=19.0, catch_up_seconds=10.0)
    in_time = a_group(LagStatus.OK, headroom_seconds=21.0, catch_up_seconds=10.0)

    assert judged(late, expected=("soma-postgres",)) == [(Health.FAILED, "soma-postgres")]
    assert judged(in_time, expected=("soma-postgres",)) == [(Health.OK, "soma-postgres")]


def test_a_group_that_has_to_be_there_and_is_not_fails() -> None:
    assert judged(expected=("soma-postgres",)) == [(Health.FAILED, "soma-postgres")]


def test_groups_of_others_are_told_only_where_they_do_not_get_on() -> None:
    theirs, stopped = a_group(name="theirs"), a_group(LagStatus.STOP, name="stopped")

    assert judged(theirs, stopped) == [(Health.FAILED, "stopped")]


def test_a_look_that_failed_or_is_old_fails() -> None:
    assert judged(failure="no broker answers", expected=("soma-postgres",)) == [(Health.FAILED, "collector")]
    assert judged(age_seconds=61.0) == [(Health.FAILED, "collector")]


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (2048, "2.0 kB"), (5 * GIGABYTE, "5.0 GB"), (2**50, "1,048,576.0 GB")],
)
def test_sizes_are_told_for_people(count: int, words: str) -> None:
    assert judgements.size(count) == words
