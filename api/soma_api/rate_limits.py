"""How many requests each principal and each tenant may send in a minute."""

from dataclasses import dataclass
from math import ceil

import structlog
from cachetools import TLRUCache
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.errors import StorageError

from soma_api.metrics import ApiMetrics, RateLimitScope
from soma_api.principals import Principal
from soma_api.problems import RateLimitedError
from soma_api.shared_windows import SharedWindows
from soma_schemas.clock import Clock

_MAX_WINDOWS = 100_000
# How long a store that failed is not asked again: a request waits for it once in this time.
_PAUSE_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Window:
    """One minute of one principal or tenant, from its first request on."""

    ends_at: float
    count: int = 0


def _ends_at(_name: str, window: _Window, _now: float) -> float:
    return window.ends_at


class Windows(Storage):
    """The windows that are open now in this process, as a storage of the library.

    The library's own storage in memory has a thread that walks through all windows a hundred times a second.

    Args:
        clock: Tells when a window ends.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        # The least used goes when there are too many, and begins anew.
        self._open: TLRUCache[str, _Window] = TLRUCache(_MAX_WINDOWS, _ends_at, timer=clock.monotonic)
        self._clock = clock

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """Nothing can be away."""
        return ()

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count, in a new window if none is open, and return the count.

        Args:
            key: Which window.
            expiry: How long a new one is, in seconds.
            amount: How many.
        """
        window = self._open.get(key)
        if window is None:
            window = self._open[key] = _Window(self._clock.monotonic() + expiry)
        window.count += amount
        return window.count

    async def get(self, key: str) -> int:
        """Return the count of a window; 0 if it is not open."""
        window = self._open.get(key)
        return 0 if window is None else window.count

    async def get_expiry(self, key: str) -> float:
        """Return when a window ends, in seconds since 1970; now, if it is not open."""
        window = self._open.get(key)
        left = 0.0 if window is None else window.ends_at - self._clock.monotonic()
        return self._clock.now().timestamp() + left

    async def check(self) -> bool:
        """Return that it is there."""
        return True

    async def reset(self) -> int:
        """Forget all windows, and return how many there were."""
        count = len(self._open)
        self._open.clear()
        return count

    async def clear(self, key: str) -> None:
        """Forget a window."""
        self._open.pop(key, None)


class RateLimits:
    """Counts requests and refuses those above the limits.

    Args:
        per_principal: Most requests of one principal in a minute; None: any number.
        per_tenant: Likewise, of all principals of a tenant.
        clock: Time.
        metrics: Counts refusals, and failures of the store.
        shared: Where all processes count together; None: each counts by itself. While it is away, each does.
    """

    def __init__(
        self,
        per_principal: int | None,
        per_tenant: int | None,
        clock: Clock,
        metrics: ApiMetrics,
        shared: SharedWindows | None = None,
    ) -> None:
        limits = {RateLimitScope.PRINCIPAL: per_principal, RateLimitScope.TENANT: per_tenant}
        self._items = {
            scope: RateLimitItemPerMinute(limit, namespace=scope)
            for scope, limit in limits.items()
            if limit is not None
        }
        self._policy = ", ".join(
            f'"{scope}";q={item.amount};w={item.get_expiry()}' for scope, item in self._items.items()
        )
        self._own = Windows(clock)
        self._shared = shared
        self._away = False
        self._again_at = 0.0
        self._clock = clock
        self._metrics = metrics

    async def admit(self, principal: Principal) -> dict[str, str]:
        """Count a request, and return the headers that tell its sender how many more there may be.

        Raises:
            RateLimitedError: It is one too many. What a principal may not send counts for no tenant.
        """
        remaining: dict[str, str] = {}
        for scope, item in self._items.items():
            # What is left to the tenant would tell a principal how much the others do.
            told = scope is RateLimitScope.PRINCIPAL
            names = [principal.tenant, principal.actor] if told else [principal.tenant]
            count, seconds = await self._count(item, item.key_for(*names), told=told)
            if seconds is not None:
                remaining["RateLimit"] = f'"{scope}";r={max(0, item.amount - count)};t={seconds}'
            if count > item.amount:
                self._metrics.rate_limited(scope)
                raise RateLimitedError(
                    f"the {scope} has sent {item.amount} requests within a minute; the next one is taken in "
                    f"{seconds} s",
                    headers={"Retry-After": str(seconds), **self._headers(remaining)},
                )
        return self._headers(remaining)

    async def close(self) -> None:
        """Let go of the store."""
        if self._shared is not None:
            await self._shared.close()

    async def _count(self, item: RateLimitItem, window: str, *, told: bool) -> tuple[int, int | None]:
        """Count a request, and return how many there are, and, if that is told, for how many seconds more."""
        if self._shared is not None and self._clock.monotonic() >= self._again_at:
            try:
                counted = await self._count_in(self._shared, item, window, told=told)
            except StorageError as error:
                self._lost(error)
            else:
                self._found()
                return counted
        return await self._count_in(self._own, item, window, told=told)

    async def _count_in(
        self, windows: Storage, item: RateLimitItem, window: str, *, told: bool
    ) -> tuple[int, int | None]:
        count = await windows.incr(window, item.get_expiry())
        if count <= item.amount and not told:
            return count, None
        ends_at = await windows.get_expiry(window)
        return count, max(1, ceil(ends_at - self._clock.now().timestamp()))

    def _lost(self, error: StorageError) -> None:
        self._metrics.rate_limit_store_failed()
        self._again_at = self._clock.monotonic() + _PAUSE_SECONDS
        if not self._away:
            self._away = True
            # The class alone: a message may quote what was sent, and the address of the store is secret.
            log.warning("rate_limit_store_away", error=type(error.storage_error).__name__)

    def _found(self) -> None:
        if self._away:
            self._away = False
            log.info("rate_limit_store_back")

    def _headers(self, remaining: dict[str, str]) -> dict[str, str]:
        return {"RateLimit-Policy": self._policy, **remaining} if self._items else {}
