import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import structlog
from opentelemetry.trace import StatusCode
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from fakes import FakeClock
from soma_api.api_keys import new_key
from soma_api.metrics import ApiMetrics
from soma_api.middleware import RefusalMiddleware, RequestMiddleware
from soma_api.security_headers import security_headers
from soma_schemas.metrics import MetricSet
from spans import A_TRACE, Spans, a_traceparent, trace_id

Answer = Callable[[Request], Awaitable[Response]]


class App:
    """An application that answers as the test says, behind the middleware."""

    def __init__(self, *, requests: int = 10) -> None:
        self.metrics = MetricSet()
        self.clock = FakeClock()
        self.answer: Answer = self.fine
        self.middleware = RequestMiddleware(
            RefusalMiddleware(
                self._serve, max_body_bytes=10, body_seconds=0.05, max_concurrent_requests=requests
            ),
            clock=self.clock,
            metrics=ApiMetrics(self.metrics),
            security_headers=security_headers(None),
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.middleware), base_url="http://soma"
        )

    async def fine(self, request: Request) -> Response:
        return Response(await request.body())

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.answer(Request(scope, receive))
        await response(scope, receive, send)

    def count(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App()
    async with app.client:
        yield app


async def test_every_answer_names_its_request(app: App) -> None:
    one, other = await app.client.get("/"), await app.client.get("/")

    assert len(one.headers["X-Request-Id"]) == 32
    assert one.headers["X-Request-Id"] != other.headers["X-Request-Id"]


async def test_a_sane_request_id_is_kept(app: App) -> None:
    answer = await app.client.get("/", headers={"X-Request-Id": "trace-7.a"})

    assert answer.headers["X-Request-Id"] == "trace-7.a"


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "<script>", 'a"b'])
async def test_a_request_id_that_could_do_harm_in_a_log_is_replaced(app: App, given: str) -> None:
    answer = await app.client.get("/", headers={"X-Request-Id": given})

    assert len(answer.headers["X-Request-Id"]) == 32


@pytest.mark.parametrize("around", ["{}", "a.{}.b"])
async def test_a_request_id_with_an_api_key_in_it_is_replaced(app: App, around: str) -> None:
    answer = await app.client.get("/", headers={"X-Request-Id": around.format(new_key().reveal())})

    assert len(answer.headers["X-Request-Id"]) == 32


async def test_a_method_that_http_does_not_know_is_in_no_log_and_no_trace(app: App) -> None:
    with capture_logs() as lines, Spans().recording() as spans:
        await app.client.request("CANARY", "/")

    (served,) = spans.all
    assert served.name == "other unmatched"
    assert [line["method"] for line in lines] == ["other"]
    assert "CANARY" not in served.to_json()


async def test_the_request_id_is_in_every_line_that_is_logged_meanwhile(app: App) -> None:
    seen: dict[str, Any] = {}

    async def look(request: Request) -> Response:
        del request
        seen.update(structlog.contextvars.get_contextvars())
        return Response()

    app.answer = look
    await app.client.get("/", headers={"X-Request-Id": "r-1"})

    assert seen["request_id"] == "r-1"
    assert "request_id" not in structlog.contextvars.get_contextvars()


async def test_a_body_within_the_limit_passes(app: App) -> None:
    answer = await app.client.post("/", content=b"0123456789")

    assert (answer.status_code, answer.content) == (200, b"0123456789")


async def test_a_body_that_says_it_is_too_large_is_not_read(app: App) -> None:
    async def never(request: Request) -> Response:
        raise AssertionError(request)

    app.answer = never
    answer = await app.client.post("/", content=b"0123456789a")

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_that_does_not_say_how_large_it_is_is_cut_off_at_the_limit(app: App) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"01234"

    answer = await app.client.post("/", content=pieces())

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_body_that_does_not_arrive_is_not_waited_for_for_ever(app: App) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"01"
        await asyncio.Event().wait()

    sent: list[Any] = []
    parts = pieces()

    async def receive() -> Any:
        return {"type": "http.request", "body": await anext(parts), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "scheme": "http"}
    await app.middleware(scope, receive, send)

    assert sent[0]["status"] == 408
    assert dict(sent[0]["headers"])[b"connection"] == b"close"
    assert b'"body_too_slow"' in sent[1]["body"]


async def test_an_error_that_nobody_foresaw_is_a_problem_without_its_message(app: App) -> None:
    async def fail(request: Request) -> Response:
        raise RuntimeError("tea at four", request)

    app.answer = fail
    with capture_logs() as lines:
        answer = await app.client.get("/", headers={"X-Request-Id": "r-1"})

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["request_id"] == "r-1"
    assert [(line["event"], line.get("error")) for line in lines] == [
        ("request_failed", "RuntimeError"),
        ("request_served", None),
    ]
    assert "tea at four" not in answer.text + repr(lines)
    assert "test_middleware.py" in lines[0]["where"]


async def test_head_is_answered_as_get_without_the_body(app: App) -> None:
    async def fine(request: Request) -> Response:
        assert request.method == "GET"
        return Response("tea at four")

    app.answer = fine
    answer = await app.client.head("/")

    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "11", b"")
    assert app.count("soma_api_requests_total", route="unmatched", method="HEAD", status="200") == 1


async def test_more_requests_than_allowed_at_once_are_sent_away() -> None:
    app = App(requests=1)
    inner: list[httpx.Response] = []

    async def ask_again(request: Request) -> Response:
        app.answer = app.fine
        inner.append(await app.client.get("/"))
        inner.append(await app.client.get("/healthz"))
        return Response(await request.body())

    app.answer = ask_again
    async with app.client:
        outer = await app.client.get("/")

    assert (inner[0].status_code, inner[0].json()["code"]) == (503, "overloaded")
    assert inner[0].headers["Retry-After"] == "1"
    assert inner[1].status_code == 200, "a busy process is alive"
    assert outer.status_code == 200


async def test_requests_are_counted_and_timed_by_route_and_never_by_path(app: App) -> None:
    async def slow(request: Request) -> Response:
        app.clock.advance(0.5)
        return await app.fine(request)

    app.answer = slow
    await app.client.get("/v1/memories/a-secret")
    await app.client.request("BREW", "/tea")

    assert app.count("soma_api_requests_total", route="unmatched", method="GET", status="200") == 1
    assert app.count("soma_api_requests_total", route="unmatched", method="other", status="200") == 1
    assert app.count("soma_api_request_seconds_sum", route="unmatched", method="GET") == 0.5
    assert app.count("soma_api_requests_in_flight") == 0


async def test_a_failed_request_is_counted_out_as_well(app: App) -> None:
    async def fail(request: Request) -> Response:
        raise RuntimeError(request)

    app.answer = fail
    await app.client.get("/")

    assert app.count("soma_api_requests_total", route="unmatched", method="GET", status="500") == 1
    assert app.count("soma_api_requests_in_flight") == 0


async def test_a_request_is_a_part_of_its_callers_trace_and_names_its_route(app: App) -> None:
    with Spans().recording() as spans:
        await app.client.get("/secret?q=content", headers={"traceparent": a_traceparent()})
        await app.client.get("/healthz", headers={"traceparent": a_traceparent()})

    (served,) = spans.all
    assert (served.name, trace_id(served)) == ("GET unmatched", A_TRACE)
    assert dict(served.attributes or {}) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "unmatched",
        "http.response.status_code": 200,
    }


async def test_a_request_that_fails_has_a_span_that_failed(app: App) -> None:
    async def fail(_: Request) -> Response:
        raise ValueError("a secret")

    app.answer = fail
    with Spans().recording() as spans:
        await app.client.get("/")

    (served,) = spans.all
    assert served.status.status_code is StatusCode.ERROR
    assert "secret" not in served.to_json()
