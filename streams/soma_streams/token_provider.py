"""Gives aiokafka the tokens that it shows to brokers."""

import asyncio

from aiokafka.abc import AbstractTokenProvider  # type: ignore[import-untyped]
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]

from soma_schemas.broker_tokens import BrokerToken, ask_for_token
from soma_schemas.clock import Clock
from soma_schemas.refusals import AccessError
from soma_schemas.settings import KafkaSettings

# A token that ends while it is on its way would be refused.
_USED_SHARE = 0.8


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """Keeps one token for all connections of a client, for most of its life.

    Args:
        kafka: Who gives tokens, and to whom; the secret is read again for each.
        clock: Measures the life of a token.
    """

    def __init__(self, kafka: KafkaSettings, clock: Clock) -> None:
        self._kafka = kafka
        self._clock = clock
        self._token = BrokerToken("", 0.0)
        self._asked = 0.0
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        """Return a token that is good for some time.

        Raises:
            KafkaConnectionError: There is none. aiokafka tries again; whoever watches it finds out why.
        """
        async with self._asking:
            now = self._clock.monotonic()
            if not self._token.value or now - self._asked >= _USED_SHARE * self._token.lasts_seconds:
                try:
                    self._token = await asyncio.to_thread(ask_for_token, self._kafka)
                except AccessError as error:
                    raise KafkaConnectionError(error.code) from error
                self._asked = now
            return self._token.value
