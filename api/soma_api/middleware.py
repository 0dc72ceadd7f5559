"""The middleware of every request: request id, security headers, metrics and log line; limits and errors."""

import asyncio
import os
import re
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soma_api.api_keys import holds_a_key
from soma_api.metrics import UNMATCHED_ROUTE, ApiMetrics, known_method
from soma_api.problems import (
    ApiError,
    BodyTooLargeError,
    BodyTooSlowError,
    InternalError,
    OverloadedError,
    problem_response,
)
from soma_api.security_headers import Headers
from soma_schemas import tracing
from soma_schemas.clock import Clock

REQUEST_ID_HEADER = "X-Request-Id"
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
# Asked every few seconds by machines: their lines would hide everybody else's.
_QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
_TRACE_HEADERS = frozenset(name.encode() for name in tracing.CARRIED)
_UNTEMPLATED_ROUTES = frozenset({"/docs", "/openapi.json"})
# Their answers go on for hours, which says nothing of how fast they are: the time to the beginning counts.
STREAMS = frozenset({"/v1/changes"})
_SERVER_ERROR = 500

log = structlog.get_logger(__name__)


def request_id_of(scope: Mapping[str, Any]) -> str:
    """Return the id that the middleware gave to a request."""
    request_id: str = scope["state"]["request_id"]
    return request_id


def answer_with(scope: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Give headers to the answer of a request, whatever it will be."""
    scope["state"]["answer_headers"] = [
        (name.lower().encode(), value.encode()) for name, value in headers.items()
    ]


def is_head(scope: Mapping[str, Any]) -> bool:
    """Return whether a request asks for the headers alone, though its route sees a GET."""
    head: bool = scope["state"]["head"]
    return head


class RequestMiddleware:
    """Names, measures and logs every request, and answers HEAD as GET without the body.

    Of a request only the id, the template of the route and a method that HTTP knows go into a log.

    Args:
        app: The application itself.
        clock: Measures.
        metrics: Counts.
        security_headers: Given to each answer that does not have them.
    """

    def __init__(self, app: ASGIApp, *, clock: Clock, metrics: ApiMetrics, security_headers: Headers) -> None:
        self._app = app
        self._clock = clock
        self._metrics = metrics
        self._security_headers = security_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        request_id = _request_id(scope)
        method = known_method(scope["method"])
        # A route for GET is one for HEAD (RFC 9110 section 9.3.2), and need not know of it.
        scope = {**scope, "method": "GET"} if method == "HEAD" else scope
        scope.setdefault("state", {}).update(request_id=request_id, head=method == "HEAD")
        status = 0
        began: float | None = None

        async def answer(message: Message) -> None:
            nonlocal status, began
            if method == "HEAD" and message["type"] == "http.response.body":
                message["body"] = b""
            if message["type"] == "http.response.start":
                status = message["status"]
                began = self._clock.monotonic()
                headers = message.setdefault("headers", [])
                present = {name for name, _ in headers}
                headers += [each for each in self._security_headers if each[0] not in present]
                headers += scope["state"].get("answer_headers", ())
                headers.append((REQUEST_ID_HEADER.lower().encode(), request_id.encode()))
            await send(message)

        with _span(scope, method) as span:
            self._metrics.request_started()
            bound = structlog.contextvars.bind_contextvars(request_id=request_id)
            try:
                await self._app(scope, receive, answer)
            finally:
                route = _route(scope)
                ended = began if began is not None and route in STREAMS else self._clock.monotonic()
                seconds = ended - started
                self._metrics.request_done(route, method, status, seconds)
                span.rename(f"{method} {route}")
                span.set({"http.route": route, "http.response.status_code": status})
                if status >= _SERVER_ERROR:
                    span.fail(str(status))
                if status >= _SERVER_ERROR or route not in _QUIET_ROUTES:
                    log.info(
                        "request_served",
                        route=route,
                        method=method,
                        status=status,
                        milliseconds=round(seconds * 1000, 2),
                    )
                structlog.contextvars.reset_contextvars(**bound)


class RefusalMiddleware:
    """Refuses what is too large, too slow or too much, and answers every error as a problem.

    Args:
        app: The application itself.
        max_body_bytes: Largest body that is taken.
        body_seconds: How long a body may take to arrive.
        max_concurrent_requests: Most requests at once.
    """

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, body_seconds: float, max_concurrent_requests: int
    ) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._max_body_bytes = max_body_bytes
        self._max_concurrent_requests = max_concurrent_requests
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        self._in_flight += 1
        try:
            self._refuse_early(scope)
            await self._app(scope, self._bounded(receive), answer)
        except ApiError as error:
            await problem_response(error, request_id_of(scope))(scope, receive, answer)
        except Exception as error:
            # The message and the values may hold content; the class and the place never do.
            log.error("request_failed", error=type(error).__name__, where=_where(error))  # noqa: TRY400  # no traceback: it would print the message
            if begun:
                raise
            internal = InternalError("an error that nobody foresaw; it is in the log")
            await problem_response(internal, request_id_of(scope))(scope, receive, answer)
        finally:
            self._in_flight -= 1

    def _refuse_early(self, scope: Scope) -> None:
        if self._in_flight > self._max_concurrent_requests and not _is_probe(scope):
            raise OverloadedError(f"{self._max_concurrent_requests} requests are being served already")
        for name, value in scope["headers"]:
            if name == b"content-length":
                with suppress(ValueError):
                    if int(value) > self._max_body_bytes:
                        raise self._too_large()

    def _bounded(self, receive: Receive) -> Receive:
        taken = 0
        arrived = False
        deadline: float | None = None

        async def bounded() -> Message:
            nonlocal taken, arrived, deadline
            if arrived:
                return await receive()  # whether the client goes away: there is no end to that
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + self._body_seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                # What is still to come would be taken for the next request.
                raise BodyTooSlowError(
                    f"the body took longer than {self._body_seconds:g} s", headers={"Connection": "close"}
                ) from None
            arrived = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > self._max_body_bytes:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"the body is larger than {self._max_body_bytes} bytes")


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_REQUEST_ID.fullmatch(value):
            given: str = value.decode("ascii")
            # It goes into logs, traces and the audit log.
            return os.urandom(16).hex() if holds_a_key(given) else given
    return os.urandom(16).hex()


def _is_probe(scope: Scope) -> bool:
    # A busy process is alive; were its probes refused, it would be restarted for being useful.
    return scope["path"] in _QUIET_ROUTES


def _span(scope: Scope, method: str) -> AbstractContextManager[tracing.Span]:
    if not tracing.is_on() or _is_probe(scope):
        return tracing.UNTRACED
    carrier = {
        name.decode("ascii"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _TRACE_HEADERS
    }
    return tracing.request(method, {"http.request.method": method, "url.scheme": scope["scheme"]}, carrier)


def _route(scope: Scope) -> str:
    """Return the template of the route, of which there are few; never the path, of which there is no end."""
    template = getattr(scope.get("route"), "path_format", None)
    if isinstance(template, str):
        return template
    return scope["path"] if scope["path"] in _UNTEMPLATED_ROUTES else UNMATCHED_ROUTE


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames)
