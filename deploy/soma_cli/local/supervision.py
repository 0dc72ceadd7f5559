"""Keeps the parts of a stack running: a part that ended by itself is started again, a few times."""

import asyncio
from collections.abc import Sequence

import structlog

from soma_cli.local.errors import LocalStackError, PartError
from soma_cli.local.part import Observer, Part, PartChange, PartState
from soma_schemas.clock import Clock

_PAUSE_FIRST_SECONDS = 0.5
_WITHIN_SECONDS = 600.0
_RESTARTS_MAX = 5

log = structlog.get_logger(__name__)


class GaveUpError(LocalStackError):
    """A part ended again and again."""

    code = "gave_up"


def restart_pause(restarts: Sequence[float], now: float) -> float | None:
    """Return how many seconds to wait before a part is started again, or None to give it up.

    Each restart within the last ten minutes doubles the pause; after five of them something is wrong that
    another start does not mend.

    Args:
        restarts: When the part was started again before, in monotonic seconds.
        now: In monotonic seconds.
    """
    recent = sum(1 for moment in restarts if now - moment < _WITHIN_SECONDS)
    return None if recent >= _RESTARTS_MAX else _PAUSE_FIRST_SECONDS * 2.0**recent


class Supervisor:
    """Hears of every change of the parts that it is told of, passes it on, and restarts what failed.

    Args:
        clock: Measures pauses.
        observe: Hears of every change too.
    """

    def __init__(self, clock: Clock, observe: Observer) -> None:
        self._clock = clock
        self._pass_on = observe
        self._failed: dict[str, asyncio.Event] = {}

    def observe(self, change: PartChange) -> None:
        """Take note of a change."""
        failed = self._failed.setdefault(change.part, asyncio.Event())
        if change.state is PartState.FAILED:
            failed.set()
        self._pass_on(change)

    async def keep_running(self, parts: Sequence[Part]) -> None:
        """Restart what fails, until cancelled.

        Raises:
            GaveUpError: A part failed too often.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._keep(part), name=f"keep {part.name}")
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _keep(self, part: Part) -> None:
        failed = self._failed.setdefault(part.name, asyncio.Event())
        restarts: list[float] = []
        while True:
            await failed.wait()
            pause = restart_pause(restarts, self._clock.monotonic())
            if pause is None:
                raise _given_up(part)
            log.warning("part_restarting", part=part.name, pause_seconds=pause)
            await self._clock.sleep(pause)
            restarts.append(self._clock.monotonic())
            # Before the start: a part that ends right after it has started sets it again.
            failed.clear()
            try:
                await part.start()
            except PartError as failure:
                log.warning("part_restart_failed", part=part.name, reason=str(failure))


def _given_up(part: Part) -> GaveUpError:
    failure = part.failure
    reason = f": {failure}" if failure is not None else ""
    said = "".join(f"\n  {line}" for line in (failure.last_lines[-5:] if failure is not None else ()))
    remedy = failure.remedy if failure is not None else None
    return GaveUpError(f"{part.name} failed {_RESTARTS_MAX + 1} times{reason}{said}", remedy=remedy)
