"""The middleware of questions: they end at a deadline, and when the client that asked goes away."""

import asyncio
from datetime import timedelta

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soma_api.middleware import STREAMS
from soma_api.query_time import limited

_METHODS = frozenset({"GET", "HEAD"})
_ASKED_BY_POST = frozenset({"/v1/search", "/v1/search:batch"})
# Nobody reads it; logs and metrics tell with it what nginx does.
CLIENT_CLOSED_REQUEST = 499


class QuestionMiddleware:
    """Limits the time that a question takes the stores, and cancels it when nobody waits for its answer.

    A write is not cancelled: what is on its way to the log is written. Nor is an answer that has begun.

    Args:
        app: The application itself.
        query_time: For everything that one request asks the database.
    """

    def __init__(self, app: ASGIApp, *, query_time: timedelta) -> None:
        self._app = app
        self._query_time = query_time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] in STREAMS:
            await self._app(scope, receive, send)
            return
        with limited(self._query_time):
            if scope["method"] in _METHODS or scope["path"] in _ASKED_BY_POST:
                await _While(self._app, scope, receive, send).serve()
            else:
                await self._app(scope, receive, send)


class _While:
    """One question, for as long as its client is there."""

    def __init__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._first: Message | None = None
        self._begun = False
        self._gone = False
        self._watching: asyncio.Task[None] | None = None
        self._serving = asyncio.current_task()

    async def serve(self) -> None:
        """Serve it, or stop where the client goes away before the answer begins."""
        try:
            if not any(
                name in (b"content-length", b"transfer-encoding") for name, _ in self._scope["headers"]
            ):
                # Nobody reads the body that is not there, and only after it comes that the client is gone.
                self._first = await self._hear()
            await self._app(self._scope, self._body, self._answer)
        except asyncio.CancelledError:
            if not self._gone or self._serving is None or self._serving.uncancel() > 0:
                raise
            await self._send({"type": "http.response.start", "status": CLIENT_CLOSED_REQUEST, "headers": []})
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            if self._watching is not None:
                self._watching.cancel()

    async def _body(self) -> Message:
        if self._first is not None:
            message, self._first = self._first, None
            return message
        return await self._hear()

    async def _hear(self) -> Message:
        message = await self._receive()
        if (
            self._watching is None
            and message["type"] == "http.request"
            and not message.get("more_body", False)
        ):
            self._watching = asyncio.create_task(self._watch())
        return message

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._begun and self._serving is not None:
            self._gone = True
            self._serving.cancel()

    async def _answer(self, message: Message) -> None:
        self._begun = True
        await self._send(message)
