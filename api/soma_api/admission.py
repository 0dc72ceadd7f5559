"""Who is let in, and how often an address may fail to be."""

import asyncio
from math import ceil

from limits import RateLimitItemPerMinute

from soma_api.metrics import ApiMetrics, RateLimitScope
from soma_api.principals import Authenticator, Principal
from soma_api.problems import RateLimitedError, UnauthenticatedError
from soma_api.rate_limits import Windows
from soma_schemas.clock import Clock

# How long a credential from an address above its limit waits for its turn to be looked up.
_PATIENCE_SECONDS = 1.0


class Admission:
    """Authenticates, and counts failures by the network that they come from.

    A good credential is taken from every network: many people can have one address. Above the limit, keys
    that are not cached are looked up one after the other, so that a flood keeps one connection to the
    database busy.

    Args:
        authenticator: Knows credentials.
        limit: Most failures of one network in a minute; 0: any number.
        clock: Time.
        metrics: Counts refusals.
    """

    def __init__(self, authenticator: Authenticator, limit: int, clock: Clock, metrics: ApiMetrics) -> None:
        self._authenticator = authenticator
        self._item = RateLimitItemPerMinute(limit, namespace=RateLimitScope.ADDRESS) if limit else None
        self._windows = Windows(clock)
        self._clock = clock
        self._metrics = metrics

    async def principal(self, credential: str | None, network: str) -> Principal:
        """Return who a credential stands for.

        Args:
            credential: As it was sent.
            network: Where it comes from.

        Raises:
            UnauthenticatedError: There is none, or it is unknown, expired or revoked.
            RateLimitedError: Likewise, and its network had too many of them.
            IdentityProviderUnavailableError: It is a token, and the keys of its provider are not known.
        """
        if self._item is None:
            return await self._authenticator.authenticate(credential)
        window = self._item.key_for(network)
        if await self._windows.get(window) >= self._item.amount:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    return await self._authenticator.authenticate(credential, in_turn=True)
            except (UnauthenticatedError, TimeoutError):
                raise await self._refused(window, self._item.amount) from None
        try:
            return await self._authenticator.authenticate(credential)
        except UnauthenticatedError:
            await self._windows.incr(window, self._item.get_expiry())
            raise

    async def _refused(self, window: str, amount: int) -> RateLimitedError:
        self._metrics.rate_limited(RateLimitScope.ADDRESS)
        ends_at = await self._windows.get_expiry(window)
        seconds = max(1, ceil(ends_at - self._clock.now().timestamp()))
        return RateLimitedError(
            f"{amount} requests of this address had no valid credential within a minute",
            remedy="Send a valid credential: it is taken at once. Others are looked at after `Retry-After`.",
            headers={"Retry-After": str(seconds)},
        )
