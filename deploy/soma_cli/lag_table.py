"""How `soma lag` shows what it found: a table of groups, and of their partitions where they are asked for."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.output import Result, plain
from soma_schemas.lag import GroupLag, Lag, LagReport, LagStatus, PartitionLag

_STYLES = {
    LagStatus.OK: "green",
    LagStatus.UNKNOWN: "cyan",
    LagStatus.WARN: "yellow",
    LagStatus.STALL: "bold red",
    LagStatus.STOP: "bold red",
    LagStatus.REWIND: "bold red",
}
_BARS = "▁▂▃▄▅▆▇█"
_SPARKS = 20
_UNKNOWN = "?"
_NEVER = "—"


class LagSource(StrEnum):
    """Who looked."""

    COLLECTOR = "collector"
    BROKERS = "brokers"


class LagResult(Result):
    """What was found, and who looked: only a collector has looked for longer than a moment."""

    source: LagSource
    report: LagReport
    with_partitions: bool

    def drawn(self) -> RenderableType:
        """Return a line for each group; and for each partition of those that were named."""
        groups = Table(
            "group", "status", "records", "seconds", "headroom", "caught up in", "lately", "why", box=None
        )
        for group in self.report.groups:
            groups.add_row(
                Text(plain(group.group)), *_cells(group), _sparks(group), Text(plain(group.reason))
            )
        if not self.with_partitions:
            return groups
        partitions = Table(
            "partition", "status", "records", "seconds", "headroom", "caught up in", "committed", "end", "why"
        )
        partitions.box = None
        for group in self.report.groups:
            for each in group.partitions:
                partitions.add_row(*_partition(each))
        return Group(groups, "", partitions)


def _partition(lag: PartitionLag) -> Sequence[RenderableType]:
    return (
        Text(plain(f"{lag.topic}/{lag.partition}")),
        *_cells(lag),
        Text(_NEVER if lag.committed is None else f"{lag.committed:,}"),
        Text(_UNKNOWN if lag.end is None else f"{lag.end:,}"),
        Text(plain(lag.reason)),
    )


def _cells(lag: Lag) -> tuple[Text, ...]:
    known = lag.lag_records is not None
    return (
        Text(lag.status, _STYLES[lag.status]),
        Text(f"{lag.lag_records:,}" if known else _UNKNOWN),
        Text(_UNKNOWN if lag.lag_seconds is None else span(lag.lag_seconds)),
        Text(_headroom(lag)),
        Text((_NEVER if known else _UNKNOWN) if lag.catch_up_seconds is None else span(lag.catch_up_seconds)),
    )


def _headroom(lag: Lag) -> str:
    if lag.headroom_records is None:
        return _UNKNOWN
    return f"{lag.headroom_records:,}" + (
        "" if lag.headroom_seconds is None else f" / {span(lag.headroom_seconds)}"
    )


def span(seconds: float) -> str:
    """Return a duration for people, in its two largest units."""
    if seconds < 10:  # noqa: PLR2004  # below it, tenths matter
        return f"{seconds:.1f} s"
    left = timedelta(seconds=round(seconds))
    hours, rest = divmod(left.seconds, 3600)
    parts = [
        f"{count} {unit}"
        for count, unit in ((left.days, "d"), (hours, "h"), (rest // 60, "min"), (rest % 60, "s"))
        if count
    ]
    return " ".join(parts[:2])


def _sparks(group: GroupLag) -> Text:
    return Text(sparks([point.lag_records for point in group.history[-_SPARKS:]]))


def sparks(values: Sequence[int]) -> str:
    """Return a line of bars, as high as the values are; the highest is that of the greatest."""
    top = max(values, default=0)
    return "".join(_BARS[round(value / top * (len(_BARS) - 1)) if top else 0] for value in values)
