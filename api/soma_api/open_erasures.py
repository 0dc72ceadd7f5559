"""What open erasures hide from searches; what they hide in PostgreSQL is hidden there."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cachetools import LRUCache

from soma_api.problems import StoreUnavailableError
from soma_api.queries.erasure_selection import ErasureSelection

# How long a database that is away holds up a search of whoever knows what was last open there.
_ANSWER_SECONDS = 0.25
_TENANTS = 10_000


class OpenErasures:
    """Knows what the open erasures of tenants select. Asked for every search: reads stop at once.

    Args:
        read: Reads those of a tenant.
    """

    def __init__(self, read: Callable[[str], Awaitable[Sequence[ErasureSelection]]]) -> None:
        self._read = read
        self._known: LRUCache[str, tuple[ErasureSelection, ...]] = LRUCache(_TENANTS)

    async def of(self, tenant: str) -> tuple[ErasureSelection, ...]:
        """Return what is selected. While the database is away nothing is accepted: what was last open holds.

        Raises:
            StoreUnavailableError: Nobody has asked for the tenant yet, and the database does not answer.
        """
        known: tuple[ErasureSelection, ...] | None = self._known.get(tenant)
        try:
            async with asyncio.timeout(None if known is None else _ANSWER_SECONDS):
                selected = tuple(await self._read(tenant))
        except (StoreUnavailableError, TimeoutError):
            if known is None:
                raise
            return known
        self._known[tenant] = selected
        return selected
