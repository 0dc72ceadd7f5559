"""Brings units up, each once what it needs is ready, and keeps them up: one way for the start and the run."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NoReturn

import structlog

from soma_cli.local.errors import GaveUpError, NeedLostError, PartError
from soma_cli.local.unit import PartState, Unit
from soma_cli.tasks import first_of, together
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError

_BACKOFF_INITIAL_SECONDS = 0.5
_WITHIN_SECONDS = 600.0
_RESTARTS_MAX = 5
# A client may see its server's end before we do.
_NOTICED_WITHIN_SECONDS = 0.5

log = structlog.get_logger(__name__)


def restart_pause(restarts: Sequence[float], now: float) -> float | None:
    """Return how many seconds to wait before a unit is started again, or None to give it up.

    Each restart within the last ten minutes doubles the pause; after five of them something is wrong that
    another start does not mend.

    Args:
        restarts: When it was started again before, in monotonic seconds.
        now: In monotonic seconds.
    """
    recent = _recent(restarts, now)
    return None if recent >= _RESTARTS_MAX else _BACKOFF_INITIAL_SECONDS * 2.0**recent


class Supervisor:
    """Brings units up and keeps them up.

    What fails is started again, with growing pauses and up to a limit, when it has been ready before, when
    its failure is one that passes, or when something that it needs ended meanwhile. Any other failure will
    come again, and ends everything at once.

    Args:
        units: All of them, with everything that one of them needs.
        clock: Measures pauses.

    Attributes:
        restarts: How often each was started again.
    """

    def __init__(self, units: Sequence[Unit], clock: Clock) -> None:
        self.restarts: Counter[str] = Counter()
        self._units = tuple(units)
        self._clock = clock
        self._begun_at: dict[Unit, float] = {}
        self._failed_at: dict[Unit, float] = {}

    async def start(self) -> None:
        """Bring everything up, and leave it alone then.

        Raises:
            Exception: The first failure that another start does not mend.
        """
        await first_of(self.until_ready(), self.run())

    async def until_ready(self) -> None:
        """Return once everything is ready."""
        await _all_ready(self._units)

    async def run(self) -> None:
        """Bring everything up and keep it up, until cancelled.

        Raises:
            GaveUpError: Something failed too often.
            Exception: A failure that another start does not mend.
        """
        await together(*(self._keep(unit) for unit in self._units))

    async def _keep(self, unit: Unit) -> None:
        restarts: list[float] = []
        worked = False
        while True:
            failure = await self._bring_up(unit)
            if failure is None:
                worked = True
                failure = await unit.until_failed()
            self._failed_at[unit] = self._clock.monotonic()
            if not (worked or isinstance(failure, NeedLostError) or unit.is_passing(failure)):
                await self._clock.sleep(_NOTICED_WITHIN_SECONDS)
                if not self._lost_a_need(unit):
                    raise failure
            now = self._clock.monotonic()
            pause = restart_pause(restarts, now)
            if pause is None:
                raise _given_up(unit, failure)
            number = _recent(restarts, now) + 1
            log.warning("unit_restarting", unit=unit.name, pause_seconds=pause, reason=str(failure))
            unit.become(PartState.RESTARTING, f"in {pause:g} s, restart {number} of {_RESTARTS_MAX}")
            await self._clock.sleep(pause)
            restarts.append(self._clock.monotonic())
            self.restarts[unit.name] += 1

    async def _bring_up(self, unit: Unit) -> Exception | None:
        try:
            await unit.fetch()
            await _all_ready(unit.after)
            self._begun_at[unit] = self._clock.monotonic()
            await first_of(unit.start(), *(_lost(need) for need in unit.after))
        except Exception as failure:  # noqa: BLE001  # judged by the caller
            if unit.failure is not failure:
                unit.fail(failure)
            return failure
        return None

    def _lost_a_need(self, unit: Unit) -> bool:
        begun = self._begun_at.get(unit, math.inf)
        return any(self._failed_at.get(need, -math.inf) >= begun for need in _all_needs(unit))


async def _all_ready(units: Sequence[Unit]) -> None:
    while away := [unit for unit in units if unit.state is not PartState.READY]:
        await away[0].until_ready()


async def _lost(need: Unit) -> NoReturn:
    await need.until_failed()
    raise NeedLostError(f"{need.name} ended, which it needs")


def _all_needs(unit: Unit) -> Iterator[Unit]:
    for need in unit.needs:
        yield need
        yield from _all_needs(need)


def _recent(restarts: Sequence[float], now: float) -> int:
    return sum(1 for moment in restarts if now - moment < _WITHIN_SECONDS)


def _given_up(unit: Unit, failure: Exception) -> GaveUpError:
    lines = failure.last_lines[-5:] if isinstance(failure, PartError) else ()
    said = "".join(f"\n  {line}" for line in lines)
    remedy = failure.remedy if isinstance(failure, SomaError) else None
    return GaveUpError(
        f"{unit.name} failed {_RESTARTS_MAX + 1} times within ten minutes: {failure}{said}", remedy=remedy
    )
