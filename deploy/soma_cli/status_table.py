"""What `soma up` shows while it runs: a live table on a terminal, else one plain line per change."""

from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from soma_cli.local.unit import PartChange, PartState
from soma_cli.output import plain
from soma_schemas.clock import Clock

_STYLES = {
    PartState.DOWNLOADING: "cyan",
    PartState.STARTING: "yellow",
    PartState.READY: "green",
    PartState.FAILED: "bold red",
    PartState.RESTARTING: "yellow",
    PartState.STOPPING: "yellow",
    PartState.STOPPED: "dim",
}
_REDRAWS_PER_SECOND = 4
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Row:
    """What is known of one part.

    Attributes:
        state: Where it is in its life.
        detail: Its address, why it failed, or when it is started again.
        since: When it came into this state, in monotonic seconds.
        starting_since: When it last began to start.
        reason: Why it failed last.
        restarts: How often it was started again.
    """

    state: PartState
    detail: str
    since: float
    starting_since: float
    reason: str = ""
    restarts: int = 0


def after(row: Row | None, change: PartChange, now: float) -> Row:
    """Return what is known of a part after a change."""
    if row is None:
        row = Row(change.state, change.detail, now, now)
    starting = change.state in {PartState.DOWNLOADING, PartState.STARTING}
    begins = starting and row.state not in {PartState.DOWNLOADING, PartState.STARTING}
    return replace(
        row,
        state=change.state,
        detail=change.detail,
        since=now,
        starting_since=now if begins else row.starting_since,
        reason=change.detail if change.state is PartState.FAILED else row.reason,
        restarts=row.restarts + (change.state is PartState.RESTARTING),
    )


class StatusTable:
    """Shows how the parts are, on stderr.

    Args:
        parts: Their names, in the order of the table.
        clock: Measures how long a start takes.
        console: Where to.
    """

    def __init__(self, parts: tuple[str, ...], clock: Clock, console: Console) -> None:
        self._parts = parts
        self._clock = clock
        self._console = console
        self._rows: dict[str, Row] = {}
        self._downloads: dict[str, tuple[int, int]] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Draw from now on."""
        if self._console.is_terminal:
            # What others print goes where they say: this table is no reason to send results to stderr.
            self._live = Live(
                console=self._console,
                get_renderable=self.drawn,
                refresh_per_second=_REDRAWS_PER_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def close(self) -> None:
        """Take the table away: whoever prints while it is drawn has to do so first."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def observe(self, change: PartChange) -> None:
        """Take note of a change."""
        now = self._clock.monotonic()
        row = after(self._rows.get(change.part), change, now)
        self._rows[change.part] = row
        if not self._console.is_terminal:
            took = f" after {now - row.starting_since:.1f} s" if row.state is PartState.READY else ""
            detail = f" {plain(row.detail)}" if row.detail else ""
            again = f" ({started_again(row.restarts)})" if took and row.restarts else ""
            self._console.print(Text(f"{change.part}: {row.state}{took}{detail}{again}"), soft_wrap=True)

    def download(self, label: str, done: int, total: int) -> None:
        """Take note of how far a download has come, in bytes."""
        if label not in self._downloads and not self._console.is_terminal:
            self._console.print(Text(f"downloading {label} ({total / _MEGABYTE:.0f} MB)"), soft_wrap=True)
        self._downloads[label] = done, total

    def drawn(self) -> RenderableType:
        """Return the table as it is now."""
        table = Table("part", "state", "", box=None, header_style="bold", pad_edge=False)
        for part in self._parts:
            row = self._rows.get(part)
            if row is None:
                table.add_row(part, Text("waiting", "dim"), "")
                continue
            table.add_row(part, Text(row.state, _STYLES[row.state]), Text(self._detail(row)))
        return table

    def _detail(self, row: Row) -> str:
        if row.state is PartState.DOWNLOADING and row.detail in self._downloads:
            done, total = self._downloads[row.detail]
            return f"{row.detail}: {done / _MEGABYTE:.0f} of {total / _MEGABYTE:.0f} MB"
        if row.state is PartState.STARTING:
            return f"{self._clock.monotonic() - row.since:.0f} s"
        if row.state is PartState.RESTARTING:
            return f"{row.detail}: {plain(row.reason)}"
        if row.state is not PartState.READY or not row.restarts:
            return plain(row.detail)
        return f"{plain(row.detail)} ({started_again(row.restarts)})".lstrip()


def started_again(restarts: int) -> str:
    """Say how often something was started again."""
    return "started again once" if restarts == 1 else f"started again {restarts} times"
