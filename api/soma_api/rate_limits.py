"""How many requests each principal and each tenant may send in a minute, counted by this process."""

from dataclasses import dataclass
from math import ceil

from cachetools import TLRUCache
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from soma_api.metrics import ApiMetrics, RateLimitScope
from soma_api.principals import Principal
from soma_api.problems import RateLimitedError
from soma_schemas.clock import Clock

_MAX_WINDOWS = 100_000


@dataclass(slots=True)
class _Window:
    """One minute of one principal or tenant, from its first request on."""

    ends_at: float
    count: int = 0


def _ends_at(_name: str, window: _Window, _now: float) -> float:
    return window.ends_at


class _Windows(Storage):
    """The windows that are open now, as a storage of the library.

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

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
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

    def get(self, key: str) -> int:
        """Return the count of a window; 0 if it is not open."""
        window = self._open.get(key)
        return 0 if window is None else window.count

    def get_expiry(self, key: str) -> float:
        """Return when a window ends, in seconds of the monotonic clock; now, if it is not open."""
        window = self._open.get(key)
        return self._clock.monotonic() if window is None else window.ends_at

    def check(self) -> bool:
        """Return that it is there."""
        return True

    def reset(self) -> int:
        """Forget all windows, and return how many there were."""
        count = len(self._open)
        self._open.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget a window."""
        self._open.pop(key, None)


class RateLimits:
    """Counts requests and refuses those above the limits.

    Args:
        per_principal: Most requests of one principal in a minute; None: any number.
        per_tenant: Likewise, of all principals of a tenant.
        clock: Time.
        metrics: Counts refusals.
    """

    def __init__(
        self, per_principal: int | None, per_tenant: int | None, clock: Clock, metrics: ApiMetrics
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
        self._limiter = FixedWindowRateLimiter(_Windows(clock))
        self._clock = clock
        self._metrics = metrics

    def admit(self, principal: Principal) -> dict[str, str]:
        """Count a request, and return the headers that tell its sender how many more there may be.

        Raises:
            RateLimitedError: It is one too many. What a principal may not send counts for no tenant.
        """
        remaining: dict[str, str] = {}
        for scope, item in self._items.items():
            names = (
                [principal.tenant] if scope is RateLimitScope.TENANT else [principal.tenant, principal.actor]
            )
            within = self._limiter.hit(item, *names)
            # What is left to the tenant would tell a principal how much the others do.
            if within and scope is RateLimitScope.TENANT:
                continue
            left, seconds = self._left(item, names)
            remaining["RateLimit"] = f'"{scope}";r={left};t={seconds}'
            if not within:
                self._metrics.rate_limited(scope)
                raise RateLimitedError(
                    f"the {scope} has sent {item.amount} requests within a minute; the next one is taken in "
                    f"{seconds} s",
                    headers={"Retry-After": str(seconds), **self._headers(remaining)},
                )
        return self._headers(remaining)

    def _left(self, item: RateLimitItem, names: list[str]) -> tuple[int, int]:
        stats = self._limiter.get_window_stats(item, *names)
        return stats.remaining, max(1, ceil(stats.reset_time - self._clock.monotonic()))

    def _headers(self, remaining: dict[str, str]) -> dict[str, str]:
        return {"RateLimit-Policy": self._policy, **remaining} if self._items else {}
