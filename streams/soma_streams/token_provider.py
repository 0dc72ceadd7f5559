"""Gives aiokafka the tokens that it shows to brokers."""

import asyncio
import math
import threading

from aiokafka.abc import AbstractTokenProvider  # type: ignore[import-untyped]
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]

from soma_schemas.broker_tokens import ask_for_token
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError
from soma_schemas.settings import KafkaSettings

# A token that ends while it is on its way would be refused.
_USED_SHARE = 0.8
# aiokafka tries again ten times a second, each of its connections for itself.
_REST_SECONDS = 1.0


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """Keeps one token for all connections of a client, for most of its life.

    Args:
        kafka: Who gives tokens, and to whom; the secret is read again for each.
        clock: Measures the life of a token.
    """

    def __init__(self, kafka: KafkaSettings, clock: Clock) -> None:
        self._kafka = kafka
        self._clock = clock
        self._token = ""
        self._refused: SomaError | None = None
        self._counts_until = -math.inf
        # Faust's consumer and its producer are in different threads, each with a loop of its own.
        self._asking = threading.Lock()

    async def token(self) -> str:
        """Return a token that is good for some time.

        Raises:
            KafkaConnectionError: There is none. aiokafka tries again; whoever watches it finds out why.
        """
        return await asyncio.to_thread(self._current)

    def _current(self) -> str:
        with self._asking:
            if self._clock.monotonic() >= self._counts_until:
                self._ask()
            if self._refused is not None:
                raise KafkaConnectionError(self._refused.code) from self._refused
            return self._token

    def _ask(self) -> None:
        began = self._clock.monotonic()
        try:
            given = ask_for_token(self._kafka)
        except SomaError as error:
            self._refused = error
            self._counts_until = self._clock.monotonic() + _REST_SECONDS
        else:
            self._token, self._refused = given.value, None
            self._counts_until = began + _USED_SHARE * given.lasts_seconds
