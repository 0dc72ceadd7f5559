"""Judges measured values: pure functions of what was seen."""

from collections.abc import Iterator

from soma_cli.diagnosis.findings import Health, Verdict, ok
from soma_schemas.lag import GroupLag, LagReport, LagStatus

_CLOCK_WARNING_SECONDS = 1.0
_CLOCK_FAILED_SECONDS = 30.0
_ROOM_WARNING = 0.10
_ROOM_WARNING_BYTES = 2 * 1024**3
_ROOM_FAILED_BYTES = 256 * 1024**2
_CONNECTIONS_WARNING = 0.9
_COLLECTOR_LATE_SECONDS = 60.0
_TWICE = 2

GROUP_REMEDY = (
    "look at its workers and their logs; `soma lag --group NAME` shows its partitions; "
    "docs/runbooks/consumer-stuck.md says more"
)
_LAG_REMEDY = "docs/runbooks/lag-growing.md says what makes it catch up"
_CLOCK_REMEDY = "set the clock by NTP: times of events, keys and retention follow it"


def clock(about: str, ahead_seconds: float, uncertain_seconds: float) -> Verdict:
    """Judge another clock.

    Args:
        about: Whose.
        ahead_seconds: How far it is ahead of this machine's, negative where it is behind.
        uncertain_seconds: How far that may be from the truth.
    """
    certain = max(0.0, abs(ahead_seconds) - uncertain_seconds)
    if certain <= _CLOCK_WARNING_SECONDS:
        return ok(f"as this machine's, within {uncertain_seconds + _CLOCK_WARNING_SECONDS:.1f} s", about)
    health = Health.FAILED if certain > _CLOCK_FAILED_SECONDS else Health.WARNING
    where = "ahead of" if ahead_seconds > 0 else "behind"
    return Verdict(health, f"{certain:.1f} s or more {where} this machine's", _CLOCK_REMEDY, about)


def newest_record(about: str, ahead_seconds: float | None) -> Verdict:
    """Judge the brokers' clock by the append time of the newest record, which only tells of a clock ahead."""
    if ahead_seconds is None:
        return ok("nothing to compare with: memory.events has no record", about)
    if ahead_seconds <= _CLOCK_WARNING_SECONDS:
        return ok("no record of memory.events is from the future", about)
    return clock(about, ahead_seconds, 0.0)


def room(about: str, total: int, free: int) -> Verdict:
    """Judge a disk by its bytes."""
    found = f"{size(free)} of {size(total)} free"
    remedy = "make room: docs/runbooks/disk-full.md says where"
    if free < _ROOM_FAILED_BYTES:
        return Verdict(Health.FAILED, found, remedy, about)
    if free < min(_ROOM_WARNING_BYTES, total * _ROOM_WARNING):
        return Verdict(Health.WARNING, found, remedy, about)
    return ok(found, about)


def size(count: int) -> str:
    """Return bytes for people."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1024 or unit == "GB":  # noqa: PLR2004  # of a kilobyte
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1024
    raise AssertionError


def connections(about: str, used: int, most: int) -> Verdict:
    """Judge how many connections a server of PostgreSQL has left."""
    found = f"{used} of {most} connections in use"
    if used >= most * _CONNECTIONS_WARNING:
        remedy = "raise max_connections, or lower SOMA_POSTGRES__POOL_SIZE of the processes"
        return Verdict(Health.WARNING, found, remedy, about)
    return ok(found, about)


def groups(report: LagReport, expected: list[str], about: str) -> Iterator[Verdict]:
    """Judge the consumer groups of the sinks, and whatever other group does not get on.

    Args:
        report: What was seen.
        expected: Groups that have to be there.
        about: Who has looked.
    """
    if report.failure is not None:
        remedy = "check that the brokers run; docs/runbooks/broker-outage.md says more"
        yield Verdict(Health.FAILED, f"nothing could be seen: {report.failure}", remedy, about)
    elif report.age_seconds is not None and report.age_seconds > _COLLECTOR_LATE_SECONDS:
        found = f"the last look was {report.age_seconds:.0f} s ago"
        yield Verdict(Health.FAILED, found, "restart `soma lag collect`", about)
    there = {group.group: group for group in report.groups}
    for name in expected:
        if name not in there and report.failure is None:
            found = "no such group: nobody has ever read for it"
            yield Verdict(Health.FAILED, found, "start its worker: `soma work --help`", name)
    for name, group in there.items():
        if name in expected or group.status.failing:
            yield _group(group)


def _group(group: GroupLag) -> Verdict:
    found = f"{group.status}: {group.reason}"
    if group.lag_records is not None:
        found += f"; {group.lag_records:,} records behind"
    if group.status.failing:
        return Verdict(Health.FAILED, found, GROUP_REMEDY, group.group)
    catch_up, headroom = group.catch_up_seconds, group.headroom_seconds
    if catch_up is not None and headroom is not None and headroom < _TWICE * catch_up:
        found += f"; retention may delete unread records in {headroom:.0f} s"
        return Verdict(Health.FAILED, found, _LAG_REMEDY, group.group)
    if group.status is LagStatus.WARN:
        return Verdict(Health.WARNING, found, _LAG_REMEDY, group.group)
    if group.status is LagStatus.UNKNOWN:
        remedy = "look again in a minute; where no `soma lag collect` runs, one look does not tell more"
        return Verdict(Health.WARNING, found, remedy, group.group)
    return ok(found, group.group)
