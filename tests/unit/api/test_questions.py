"""A question is cancelled when its client goes away before the answer begins; nothing else is."""

import asyncio
from datetime import timedelta

import pytest
from starlette.types import Message, Receive, Scope, Send

from soma_api.query_time import query_time
from soma_api.questions import CLIENT_CLOSED_REQUEST, QuestionMiddleware

_BODY: Message = {"type": "http.request", "body": b"{}", "more_body": False}
_GONE: Message = {"type": "http.disconnect"}


class _Exchange:
    """A request to an application that answers when it is let, from a client that can go away."""

    def __init__(self, method: str, path: str) -> None:
        length = [(b"content-length", b"2")] if method == "POST" else []
        self.scope: Scope = {"type": "http", "method": method, "path": path, "headers": length}
        self.reached = asyncio.Event()
        self.answers = asyncio.Event()
        self.begins = False
        self.body: Message | None = None
        self.sent: list[Message] = []
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.messages.put_nowait(_BODY)

    async def app(self, _: Scope, receive: Receive, send: Send) -> None:
        self.body = await receive()
        if self.begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        self.reached.set()
        await self.answers.wait()
        if not self.begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def run(self) -> None:
        middleware = QuestionMiddleware(self.app, query_time=timedelta(seconds=1))
        await middleware(self.scope, self.messages.get, self.send)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/memories"), ("POST", "/v1/search"), ("POST", "/v1/search:batch")]
)
async def test_a_question_ends_with_its_client(method: str, path: str) -> None:
    exchange = _Exchange(method, path)
    running = asyncio.create_task(exchange.run())
    await exchange.reached.wait()

    exchange.messages.put_nowait(_GONE)
    await running

    assert exchange.body == _BODY
    assert exchange.sent[0]["status"] == CLIENT_CLOSED_REQUEST


async def test_a_write_goes_on_without_its_client() -> None:
    exchange = _Exchange("POST", "/v1/memories")
    running = asyncio.create_task(exchange.run())
    await exchange.reached.wait()

    exchange.messages.put_nowait(_GONE)
    exchange.answers.set()
    await running

    assert exchange.sent[0]["status"] == 200


async def test_an_answer_that_has_begun_goes_on() -> None:
    exchange = _Exchange("GET", "/v1/memories")
    exchange.begins = True
    running = asyncio.create_task(exchange.run())
    await exchange.reached.wait()

    exchange.messages.put_nowait(_GONE)
    # The message is heard before the answer goes on.
    while not exchange.messages.empty():
        await asyncio.wait([running], timeout=0)
    exchange.answers.set()
    await running

    assert [each.get("status") for each in exchange.sent] == [200, None]


async def test_whoever_cancels_a_question_is_not_taken_for_its_client() -> None:
    exchange = _Exchange("GET", "/v1/memories")
    running = asyncio.create_task(exchange.run())
    await exchange.reached.wait()

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert exchange.sent == []


async def test_the_questions_of_a_request_share_its_time() -> None:
    left: list[timedelta] = []

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        for _question in range(2):
            time = query_time()
            assert time is not None
            left.append(time.left)
            with time.spent():
                await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=0.01)

    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/memories", "headers": []}
    exchange = _Exchange("POST", "/v1/memories")
    await QuestionMiddleware(app, query_time=timedelta(seconds=1))(
        scope, exchange.messages.get, exchange.send
    )

    assert left[0] == timedelta(seconds=1)
    assert left[1] <= timedelta(seconds=1) - timedelta(milliseconds=9)


async def test_a_stream_of_changes_has_no_such_limit() -> None:
    found = []

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        found.append(query_time())

    scope: Scope = {"type": "http", "method": "GET", "path": "/v1/changes", "headers": []}
    exchange = _Exchange("GET", "/v1/changes")
    await QuestionMiddleware(app, query_time=timedelta(seconds=1))(
        scope, exchange.messages.get, exchange.send
    )

    assert found == [None]
