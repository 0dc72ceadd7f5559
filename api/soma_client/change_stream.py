"""Follows the stream of changes, and goes on where it was after a lost connection."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, replace
from random import Random

import httpx
from httpx_sse import EventSource, ServerSentEvent

from soma_client.call import Call
from soma_client.errors import RefusedError, SomaClientError, UnreachableError, refusal_of
from soma_client.exchange import Exchange
from soma_client.retrying import passes
from soma_schemas.responses.change_responses import AppliedChangeView

# The stream says something every 15 seconds.
SILENCE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True)
class ChangePlace:
    """How far a stream of changes was told: `since` for another one."""

    id: str


Told = AppliedChangeView | ChangePlace
OnLost = Callable[[SomaClientError], None]


class Following:
    """Where a follower is, and whether it goes on.

    Args:
        exchange: Of the client.
        call: What is followed.
        random: Spreads those who connect again.
    """

    def __init__(self, exchange: Exchange, call: Call[AppliedChangeView], random: Random) -> None:
        self._exchange = exchange
        self._call = call
        self._random = random
        self._begun = False
        self._failures = 0
        self.place: str = call.query["since"]

    def ended(self) -> None:
        """Take the end of a stream.

        Raises:
            UnreachableError: It was to go on for ever.
        """
        if self._call.query["follow"] == "true":
            raise UnreachableError("the API has ended the stream", sent=True)

    def refusal(self, response: httpx.Response) -> RefusedError:
        """Return what a response that was read says no with."""
        return self._exchange.refusal(response)

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Explain what goes wrong with a connection within the block.

        Raises:
            UnreachableError: It is lost.
        """
        try:
            yield
        except httpx.RequestError as error:
            raise self._exchange.unreachable(error) from error

    def request(self) -> httpx.Request:
        """Return what is asked next: all behind the last place."""
        request = self._exchange.request(replace(self._call, query={**self._call.query, "since": self.place}))
        request.headers["Accept"] = "text/event-stream"
        request.headers["Cache-Control"] = "no-store"
        request.extensions["timeout"] = httpx.Timeout(
            request.extensions["timeout"]["connect"], read=SILENCE_SECONDS
        ).as_dict()
        return request

    def take(self, message: ServerSentEvent) -> Told | None:
        """Return what a message tells, or None.

        Raises:
            RefusedError: The stream has ended with a problem.
            UnexpectedError: The message is none of this version.
        """
        if message.event == "end":
            problem = message.json()
            raise refusal_of(int(problem["status"]), problem)
        if message.event == "change":
            return self._exchange.parsed(AppliedChangeView, message.data)
        if not message.id:
            return None
        self.place, self._begun, self._failures = message.id, True, 0
        return ChangePlace(message.id)

    def pause_seconds(self, error: SomaClientError) -> float:
        """Return how long to wait before the connection is made again.

        Raises:
            SomaClientError: This error, where there was no connection before, or it does not pass.
        """
        if not self._begun or not passes(error):
            raise error
        longest = min(_FIRST_PAUSE_SECONDS * 2.0**self._failures, _LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 16)
        return self._random.uniform(longest / 2, longest)


class ChangeStream:
    """An iterator of changes. A lost connection is made again, for ever; a change can be told twice then.

    Attributes:
        place: Everything before it was told: `since` for another stream, also much later.
    """

    def __init__(
        self, following: Following, http: httpx.Client, pause: Callable[[float], None], on_lost: OnLost | None
    ) -> None:
        self._following = following
        self._http = http
        self._pause = pause
        self._on_lost = on_lost

    @property
    def place(self) -> str:
        """Where it is."""
        return self._following.place

    def __iter__(self) -> Iterator[AppliedChangeView]:
        with closing(self.told()) as told:
            for each in told:
                if isinstance(each, AppliedChangeView):
                    yield each

    def told(self) -> Generator[Told]:
        """Yield changes, and between them how far everything was told.

        Raises:
            RefusedError: The API says no, in a way that does not pass.
            UnreachableError: It gave no answer at all.
            UnexpectedError: What answers is no API of this version.
        """
        while True:
            try:
                yield from self._connection()
                self._following.ended()
            except SomaClientError as error:
                seconds = self._following.pause_seconds(error)
                if self._on_lost is not None:
                    self._on_lost(error)
            else:
                return
            self._pause(seconds)

    def _connection(self) -> Iterator[Told]:
        with (
            self._following.reaching(),
            closing(self._http.send(self._following.request(), stream=True)) as stream,
        ):
            if not stream.is_success:
                stream.read()
                raise self._following.refusal(stream)
            for message in EventSource(stream).iter_sse():
                if (told := self._following.take(message)) is not None:
                    yield told


class AsyncChangeStream:
    """An asynchronous iterator of changes. A lost connection is made again; a change can be told twice then.

    Attributes:
        place: Everything before it was told: `since` for another stream, also much later.
    """

    def __init__(
        self,
        following: Following,
        http: httpx.AsyncClient,
        pause: Callable[[float], Awaitable[None]],
        on_lost: OnLost | None,
    ) -> None:
        self._following = following
        self._http = http
        self._pause = pause
        self._on_lost = on_lost

    @property
    def place(self) -> str:
        """Where it is."""
        return self._following.place

    async def __aiter__(self) -> AsyncGenerator[AppliedChangeView]:
        async with aclosing(self.told()) as told:
            async for each in told:
                if isinstance(each, AppliedChangeView):
                    yield each

    async def told(self) -> AsyncGenerator[Told]:
        """Yield changes, and between them how far everything was told.

        Raises:
            RefusedError: The API says no, in a way that does not pass.
            UnreachableError: It gave no answer at all.
            UnexpectedError: What answers is no API of this version.
        """
        while True:
            try:
                async with aclosing(self._connection()) as told:
                    async for each in told:
                        yield each
                self._following.ended()
            except SomaClientError as error:
                seconds = self._following.pause_seconds(error)
                if self._on_lost is not None:
                    self._on_lost(error)
            else:
                return
            await self._pause(seconds)

    async def _connection(self) -> AsyncGenerator[Told]:
        with self._following.reaching():
            stream = await self._http.send(self._following.request(), stream=True)
            async with aclosing(stream):
                if not stream.is_success:
                    await stream.aread()
                    raise self._following.refusal(stream)
                async for message in EventSource(stream).aiter_sse():
                    if (told := self._following.take(message)) is not None:
                        yield told
