"""How far a rebuild has come, on stderr: a bar on a terminal, plain lines in a pipe, JSON for programs."""

import sys
from types import TracebackType
from typing import Self

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from soma_cli.output import say
from soma_cli.reindexing.phases import Phase, Told
from soma_schemas.clock import Clock

_LINE_SECONDS = 10.0
_JSON_SECONDS = 1.0

_NAMES = {
    Phase.FILLING: "Filling from PostgreSQL",
    Phase.CATCHING_UP: "Catching up with the log",
    Phase.COMPARING: "Comparing with PostgreSQL",
    Phase.ASKING: "Comparing answers",
}


class ProgressLine(BaseModel):
    """How far a phase has come, as a line of JSON.

    Attributes:
        done: Memories, events, rows and points, or questions.
        total: How many there are, as far as is known.
        per_second: Since the phase began.
        seconds_left: At this rate; null while there is none.
        waits_for: What does not answer for now; null when everything does.
    """

    phase: Phase
    done: int
    total: int
    per_second: float
    seconds_left: float | None
    waits_for: str | None


class ProgressLines:
    """Shows what it is told; a context manager.

    Args:
        clock: Measures rates.
        as_json: Write lines of JSON.
    """

    def __init__(self, clock: Clock, *, as_json: bool) -> None:
        self._clock = clock
        self._as_json = as_json
        console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        if console.is_terminal and not as_json:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
        self._task = None if self._bar is None else self._bar.add_task("Beginning", total=None, rate="")
        self._phase: Phase | None = None
        self._began = 0.0
        self._first = 0
        self._shown = 0.0
        self._waits: str | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show nothing more."""
        self.pause()

    def pause(self) -> None:
        """Leave the terminal to a question."""
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, told: Told) -> None:
        """Show how far it has come."""
        now = self._clock.monotonic()
        began = told.phase is not self._phase
        if began:
            self._phase, self._began, self._first = told.phase, now, told.done
        line = self._line(told, now)
        changed = told.waits_for != self._waits
        self._waits = told.waits_for
        if self._bar is not None and self._task is not None:
            name = _NAMES[told.phase] if told.waits_for is None else f"Waiting: {told.waits_for}"
            if began:
                self._bar.start()
                self._bar.reset(self._task)
            rate = f"{line.per_second:,.0f}/s" if line.per_second else ""
            self._bar.update(
                self._task, description=name, completed=told.done, total=told.total or None, rate=rate
            )
        elif began or changed or now - self._shown >= (_JSON_SECONDS if self._as_json else _LINE_SECONDS):
            self._shown = now
            if self._as_json:
                sys.stderr.write(line.model_dump_json() + "\n")
                sys.stderr.flush()
            else:
                say(_words(line))

    def _line(self, told: Told, now: float) -> ProgressLine:
        seconds = now - self._began
        rate = (told.done - self._first) / seconds if seconds > 0 else 0.0
        return ProgressLine(
            phase=told.phase,
            done=told.done,
            total=told.total,
            per_second=round(max(0.0, rate), 1),
            seconds_left=round((told.total - told.done) / rate, 1) if rate > 0 else None,
            waits_for=told.waits_for,
        )


def _words(line: ProgressLine) -> str:
    if line.waits_for is not None:
        return f"Waiting: {line.waits_for}"
    words = _NAMES[line.phase]
    if line.total:
        words += f": {line.done:,} of {line.total:,}"
    if line.seconds_left is not None:
        words += f", {line.per_second:,.0f}/s, {line.seconds_left:,.0f} s left"
    return words
