"""The retention policies of tenants, kept in memory for as long as they are surely those of the database."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from cachetools import LRUCache

from soma_api.problems import StoreUnavailableError
from soma_schemas.clock import Clock
from soma_schemas.retention import TenantPolicies

# While changes are told, what a notification missed is mended so soon; while they are not, all are.
_GOOD_SECONDS_TOLD = 5.0
_GOOD_SECONDS_UNTOLD = 0.25
# How long a database that is away holds up who knows what was last in force there.
_ANSWER_SECONDS = 0.25
_TENANTS = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    policies: TenantPolicies
    until: float


@dataclass(frozen=True, slots=True)
class _Reading:
    task: "asyncio.Task[TenantPolicies]"
    began: float


class PoliciesInForce:
    """Knows the policies of tenants, and reads them again when somebody tells of a change.

    Args:
        read: Reads those of a tenant.
        clock: Measures how long they are good.
    """

    def __init__(self, read: Callable[[str], Awaitable[TenantPolicies]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._known: LRUCache[str, _Known] = LRUCache(_TENANTS)
        self._readings: dict[str, _Reading] = {}
        self._told = False
        self._changes = 0

    async def of(self, tenant: str) -> TenantPolicies:
        """Return the policies of a tenant. While the database is away no policy changes: the last known hold.

        Raises:
            StoreUnavailableError: They were not read yet, and the database does not answer.
        """
        known: _Known | None = self._known.get(tenant)
        if known is not None and self._clock.monotonic() < known.until:
            return known.policies
        reading = self._reading(tenant)
        if known is None:
            # Others wait for the same answer: who gives up must not take it from them.
            return await asyncio.shield(reading.task)
        left = reading.began + _ANSWER_SECONDS - self._clock.monotonic()
        await asyncio.wait([reading.task], timeout=max(left, 0.0))
        if reading.task.done() and reading.task.exception() is None:
            return reading.task.result()
        return known.policies

    def forget(self, tenant: str) -> None:
        """Learn that the policies of a tenant have changed."""
        # A question that is under way may have the answer from before.
        self._changes += 1
        if (known := self._known.get(tenant)) is not None:
            self._known[tenant] = replace(known, until=-math.inf)

    def told(self, *, whether: bool) -> None:
        """Learn whether changes are told from now on."""
        if whether != self._told:
            self._told = whether
            self._changes += 1
            for tenant in list(self._known):
                self.forget(tenant)

    def _reading(self, tenant: str) -> _Reading:
        reading = self._readings.get(tenant)
        if reading is None:
            task = asyncio.create_task(self._read_anew(tenant))
            reading = self._readings[tenant] = _Reading(task, self._clock.monotonic())
            # Who knows better does not wait for it, and then nobody asks how it ended.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return reading

    async def _read_anew(self, tenant: str) -> TenantPolicies:
        try:
            while True:
                changes = self._changes
                policies = await self._read(tenant)
                if changes == self._changes:
                    good = _GOOD_SECONDS_TOLD if self._told else _GOOD_SECONDS_UNTOLD
                    self._known[tenant] = _Known(policies, self._clock.monotonic() + good)
                    return policies
        except StoreUnavailableError:
            if (known := self._known.get(tenant)) is not None:
                again = self._clock.monotonic() + _GOOD_SECONDS_UNTOLD
                self._known[tenant] = replace(known, until=again)
            raise
        finally:
            del self._readings[tenant]
