"""Whether a process gets on: it is given up for showing no sign of it, never for taking long."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from soma_schemas.clock import Clock

_LOOK_EVERY_SECONDS = 5.0
# More than an idle part spends in a minute, less than one that works gets on a machine with thirty others.
_CPU_SECONDS = 1.0


class Signs(NamedTuple):
    """What shows that a process works: the size of its log, and the CPU time of it and its children."""

    log_bytes: int
    cpu_seconds: float

    def show_progress_since(self, before: "Signs") -> bool:
        """Say whether something has happened between two looks."""
        return (
            self.log_bytes != before.log_bytes or abs(self.cpu_seconds - before.cpu_seconds) >= _CPU_SECONDS
        )


async def until_silent(
    pid: int, log: Path, clock: Clock, seconds: float, waits: Callable[[], bool] = lambda: False
) -> None:
    """Return once a process has shown no sign of progress for that long.

    Args:
        pid: Of the process.
        log: Where its output goes.
        clock: Measures the time.
        seconds: How long it may be silent.
        waits: Whether it waits for others, and has nothing to show.
    """
    seen, since = signs_of(pid, log), clock.monotonic()
    while clock.monotonic() - since < seconds:
        await clock.sleep(min(_LOOK_EVERY_SECONDS, seconds))
        now = signs_of(pid, log)
        if waits() or now.show_progress_since(seen):
            seen, since = now, clock.monotonic()


def signs_of(pid: int, log: Path) -> Signs:
    """Look at a process; one that has ended shows nothing."""
    size, spent = 0, 0.0
    with suppress(FileNotFoundError):
        size = log.stat().st_size
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                times = one.cpu_times()
                # What children spent that have ended is in the second pair.
                spent += times.user + times.system + times.children_user + times.children_system
    return Signs(size, spent)
