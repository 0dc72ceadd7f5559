"""What a client sends, what it does with answers, and when it sends again: the same for both clients."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any
from uuid import UUID

import httpx
import pytest

from canned_api import MEMORY_ID, WRITTEN, a_memory
from fakes import FakeClock
from soma_client import (
    AsyncSomaClient,
    ChangedError,
    NotFoundError,
    RefusedError,
    Retrying,
    SomaClient,
    SomaClientError,
    UnexpectedError,
    UnreachableError,
)
from soma_client.call import Call
from soma_client.calls import memory_calls
from soma_schemas.responses.memory_responses import MemoryPage

Client = SomaClient | AsyncSomaClient
Answered = httpx.Response | httpx.RequestError
Made = Callable[[Client], Any]


def problem(status: int, code: str, *, retryable: bool = False, **headers: str) -> httpx.Response:
    body = {"status": status, "code": code, "detail": "no", "retryable": retryable, "request_id": "r-1"}
    return httpx.Response(
        status, json=body, headers={name.replace("_", "-"): headers[name] for name in headers}
    )


def fresh(response: httpx.Response) -> httpx.Response:
    """A response that nobody has read."""
    return httpx.Response(response.status_code, headers=response.headers, content=response.content)


@dataclass
class Api:
    """Answers one request after the other, and keeps what it was asked."""

    answers: list[Answered]
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, httpx.RequestError):
            answer.request = request
            raise answer
        return fresh(answer)


@dataclass(frozen=True)
class Asking:
    """One of the two clients, asked in the same way."""

    make: type[SomaClient] | type[AsyncSomaClient]
    clock: FakeClock

    def client(self, api: Api, **options: Any) -> Client:
        return self.make(
            "http://memory.example",
            "soma_a_secret",
            transport=httpx.MockTransport(api),
            clock=self.clock,
            environment={},
            **options,
        )

    async def __call__(self, api: Api, *calls: Made, **options: Any) -> list[Any]:
        """Make calls, one after the other, and return what they return."""
        client = self.client(api, **options)
        returned = []
        try:
            for call in calls:
                answer = call(client)
                if isawaitable(answer):
                    answer = await answer
                elif hasattr(answer, "__aiter__"):
                    answer = [each async for each in answer]
                elif isinstance(answer, Iterator):
                    answer = list(answer)
                returned.append(answer)
        finally:
            closed = client.close()
            if closed is not None:
                await closed
        return returned


@pytest.fixture(params=[SomaClient, AsyncSomaClient])
def asking(request: pytest.FixtureRequest) -> Asking:
    """Both clients."""
    return Asking(request.param, FakeClock())


def written(position: str) -> httpx.Response:
    return httpx.Response(202, json=WRITTEN | {"position": position, "outcome": None})


def page(*memories: Mapping[str, Any], cursor: str | None = None) -> httpx.Response:
    return httpx.Response(200, json={"memories": list(memories), "next_cursor": cursor})


def store(client: Client) -> Any:
    return client.store_memory("Tea at four.", namespace="team/notes")


def read(client: Client) -> Any:
    return client.read_memory(MEMORY_ID)


async def test_a_request_has_the_key_and_an_answer_is_a_model(asking: Asking) -> None:
    api = Api([httpx.Response(200, json=a_memory(kept="too"))])

    (memory,) = await asking(api, read)

    assert (memory.text, memory.namespace) == ("Tea at four.", "team/notes")
    assert memory.model_extra == {"kept": "too"}
    assert api.asked[0].headers["Authorization"] == "Bearer soma_a_secret"


async def test_a_write_is_sent_again_under_the_same_event_id(asking: Asking) -> None:
    api = Api(
        [
            httpx.ReadError("reset"),
            problem(503, "log_unavailable", retryable=True, Retry_After="1"),
            problem(429, "rate_limited", retryable=True, Retry_After="2"),
            written("3:1"),
        ]
    )

    (answer,) = await asking(api, store)

    assert str(answer.position) == "3:1"
    keys = {request.headers["Idempotency-Key"] for request in api.asked}
    assert (len(api.asked), len(keys)) == (4, 1)
    assert UUID(keys.pop()).version == 7
    bounds = [(0.125, 0.25), (1.25, 1.5), (2.5, 3.0)]
    assert [low <= s <= high for s, (low, high) in zip(asking.clock.slept, bounds, strict=True)] == [True] * 3


async def test_two_writes_have_two_event_ids(asking: Asking) -> None:
    api = Api([written("3:1"), written("3:2")])

    await asking(api, store, store)

    assert len({request.headers["Idempotency-Key"] for request in api.asked}) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(503, "encryption_unavailable", retryable=False), RefusedError),
        (problem(500, "internal", retryable=True), RefusedError),
        (problem(409, "superseded", retryable=True), RefusedError),
        (problem(412, "precondition_failed"), ChangedError),
        (problem(404, "memory_not_found"), NotFoundError),
        (httpx.Response(200, text="<html>"), UnexpectedError),
        (httpx.Response(302, headers={"Location": "https://elsewhere.example"}), RefusedError),
    ],
)
async def test_what_does_not_pass_is_said_at_once(
    asking: Asking, answer: httpx.Response, error: type[Exception]
) -> None:
    api = Api([answer])

    with pytest.raises(error):
        await asking(api, read)

    assert (len(api.asked), asking.clock.slept) == (1, [])


async def test_a_request_is_tried_for_so_long_and_no_longer(asking: Asking) -> None:
    api = Api([problem(503, "overloaded", retryable=True) for _ in range(100)])

    with pytest.raises(RefusedError):
        await asking(api, read, retrying=Retrying(total_seconds=10.0))

    slept = asking.clock.slept
    # A pause can be as short as half of its length, so what is sure is that another one could be too long.
    longest_next = min(0.25 * 2.0 ** len(slept), 8.0)
    assert len(api.asked) == len(slept) + 1
    assert sum(slept) <= 10.0 < sum(slept) + longest_next


async def test_a_time_to_ask_again_beyond_the_end_is_not_waited_for(asking: Asking) -> None:
    api = Api([problem(429, "rate_limited", retryable=True, Retry_After="60")])

    with pytest.raises(RefusedError) as raised:
        await asking(api, read)

    assert raised.value.retry_after_seconds == 60.0
    assert asking.clock.slept == []


async def test_a_time_of_day_to_ask_again_is_understood(asking: Asking) -> None:
    # Four seconds from the clock's now.
    api = Api(
        [
            httpx.Response(503, headers={"Retry-After": "Mon, 02 Mar 2026 12:00:04 GMT"}),
            httpx.Response(200, json=a_memory()),
        ]
    )

    await asking(api, read)

    assert 4.125 <= asking.clock.slept[0] <= 4.25


async def test_nothing_is_tried_again_where_that_is_not_wanted(asking: Asking) -> None:
    api = Api([problem(503, "overloaded", retryable=True)])

    with pytest.raises(RefusedError):
        await asking(api, read, retrying=Retrying(total_seconds=0.0))

    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (httpx.ConnectError("refused"), 2),
        (problem(429, "rate_limited", retryable=True), 2),
        (httpx.ReadError("reset"), 1),
        (
            httpx.ReadTimeout(
                "late", request=httpx.Request("POST", "http://x", extensions={"timeout": {"read": 30.0}})
            ),
            1,
        ),
        (problem(503, "overloaded", retryable=True), 1),
    ],
)
async def test_what_is_done_twice_when_it_is_sent_twice_is_sent_again_only_if_it_was_not_begun(
    asking: Asking, answer: Answered, tries: int
) -> None:
    call = Call("POST", "/v1/anything", MemoryPage, body={})
    api = Api([answer, page()])

    try:
        await asking(api, lambda client: client.answer(call))
    except SomaClientError:
        assert tries == 1

    assert len(api.asked) == tries


async def test_an_address_where_nobody_is_can_be_given_up_at_once(asking: Asking) -> None:
    api = Api([httpx.ConnectError("refused")])

    with pytest.raises(UnreachableError, match=r"http://memory\.example cannot be reached"):
        await asking(api, read, retrying=Retrying(unreachable=False))

    assert len(api.asked) == 1


async def test_reads_wait_for_the_client_s_own_writes(asking: Asking) -> None:
    batch = httpx.Response(
        202, json={"writes": [WRITTEN | {"position": "1:4"}, WRITTEN | {"position": "3:9"}]}
    )
    api = Api([written("3:8"), batch, written("3:2"), httpx.Response(200, json=a_memory()), written("0:1")])

    await asking(
        api,
        store,
        lambda client: client.store_memories(
            [{"namespace": "a", "text": "x"}, {"namespace": "a", "text": "y"}]
        ),
        store,
        read,
        lambda client: client.delete_memory(MEMORY_ID),
    )

    sent = [request.headers.get("Soma-Position") for request in api.asked]
    assert sent == [None, None, None, "1:4, 3:9", "1:4, 3:9"]


async def test_reads_do_not_wait_where_that_is_not_wanted(asking: Asking) -> None:
    api = Api([written("3:8"), httpx.Response(200, json=a_memory())])

    await asking(api, store, read, read_your_writes=False)

    assert "Soma-Position" not in api.asked[1].headers


async def test_reads_wait_for_writes_of_others_that_were_named(asking: Asking) -> None:
    api = Api([httpx.Response(200, json=a_memory())])

    await asking(api, lambda client: client.see(["3:8", "2:3:1"]), read)

    assert api.asked[0].headers["Soma-Position"] == "2:3:1"


async def test_no_more_positions_are_waited_for_than_the_api_takes(asking: Asking) -> None:
    api = Api([httpx.Response(200, json=a_memory())])

    await asking(api, lambda client: client.see([f"{partition}:1" for partition in range(70)]), read)

    sent = api.asked[0].headers["Soma-Position"].split(", ")
    assert sent == [f"{partition}:1" for partition in range(6, 70)]


async def test_a_policy_is_no_write_that_reads_wait_for(asking: Asking) -> None:
    change = {"event_id": MEMORY_ID, "namespace": None, "position": "0:17", "in_force": None}
    api = Api([httpx.Response(202, json=change), httpx.Response(200, json=a_memory())])

    await asking(api, lambda client: client.set_retention_policy(rules=[{"ttl_seconds": 60}]), read)

    assert "Soma-Position" not in api.asked[1].headers


async def test_all_pages_of_a_list_are_gone_through(asking: Asking) -> None:
    api = Api([page(a_memory(key="a"), cursor="c1"), page(cursor="c2"), page(a_memory(key="b"))])

    (memories,) = await asking(api, lambda client: client.iter_memories(namespace="team/notes", limit=1))

    assert [memory.key for memory in memories] == ["a", "b"]
    assert [request.url.params.get("cursor") for request in api.asked] == [None, "c1", "c2"]
    assert {request.url.params["namespace"] for request in api.asked} == {"team/notes"}


async def test_an_answer_says_how_old_it_may_be_and_what_may_be_too_old_is_refused(asking: Asking) -> None:
    headers = [{"Soma-Staleness": "0.112", "X-Request-ID": "r-1"}, {"Soma-Staleness": "unknown"}]
    api = Api([httpx.Response(200, json=a_memory(), headers=each) for each in headers])
    call = memory_calls.read_memory(MEMORY_ID)

    known, unknown = await asking(
        api,
        lambda client: client.answer(call),
        lambda client: client.answer(call),
        max_staleness_seconds=2.0,
    )

    assert (known.value.key, known.staleness_seconds, known.request_id) == ("tea", 0.112, "r-1")
    assert unknown.staleness_seconds is None
    assert api.asked[0].headers["Soma-Max-Staleness"] == "2.000"


async def test_waiting_for_a_write_takes_longer_than_the_api_was_asked_to_wait(asking: Asking) -> None:
    api = Api([written("3:1"), written("3:2")])

    await asking(
        api, store, lambda client: client.store_memory("x", namespace="a", wait_seconds=50), timeout_seconds=9
    )

    timeouts: Sequence[Any] = [request.extensions["timeout"]["read"] for request in api.asked]
    assert (timeouts[0], timeouts[1] > 50) == (9, True)
    assert [request.headers.get("Prefer") for request in api.asked] == [None, "wait=50"]


async def test_a_refusal_says_what_is_wrong_what_to_do_and_which_request_it_was(asking: Asking) -> None:
    body = {
        "status": 422,
        "code": "invalid_input",
        "detail": "the request breaks the contract",
        "remedy": "Correct the fields named.",
        "request_id": "r-7",
        "errors": [{"source": "body", "path": "/namespace", "code": "empty", "message": "is empty"}],
    }
    api = Api([httpx.Response(422, json=body)])

    with pytest.raises(RefusedError, match="the request breaks the contract") as raised:
        await asking(api, store)

    error = raised.value
    assert (error.status, error.problem, error.request_id) == (422, "invalid_input", "r-7")
    assert (error.findings, error.remedy) == (("/namespace: is empty",), "Correct the fields named.")
    # What a traceback shows.
    assert error.__notes__ == ["remedy: Correct the fields named.", "request id: r-7", "/namespace: is empty"]


async def test_a_part_that_is_not_ready_is_an_answer(asking: Asking) -> None:
    body: dict[str, Any] = {"status": "not_ready", "parts": {}, "index": None}
    api = Api([httpx.Response(503, json=body)])

    (ready,) = await asking(api, lambda client: client.readyz())

    assert ready.status == "not_ready"


async def test_metrics_are_text(asking: Asking) -> None:
    api = Api([httpx.Response(200, text="# HELP up\n")])

    assert await asking(api, lambda client: client.metrics()) == ["# HELP up\n"]


async def test_the_key_is_in_no_representation_of_a_client(asking: Asking) -> None:
    client = asking.client(Api([]))

    assert "soma_a_secret" not in repr(vars(client))
    closed: Awaitable[None] | None = client.close()
    if closed is not None:
        await closed
