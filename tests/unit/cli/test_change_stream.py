"""Following the stream of changes: what is told, and what becomes of a connection that is lost."""

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import httpx
import pytest

from canned_api import MEMORY_ID, a_memory
from soma_cli.api_responses import AppliedChange, ChangePlace
from soma_cli.change_stream import follow_changes
from soma_cli.client import ApiRefusedError, ApiUnreachableError, SomaClient
from soma_client.connection import Connection

CHANGE: dict[str, Any] = {
    "event_type": "MemoryStored",
    "memory_id": MEMORY_ID,
    "namespace": "team",
    "version": 1099511627776,
    "position": "0:0",
    "event_id": MEMORY_ID,
    "actor": "ada",
    "logged_at": "2026-03-02T09:00:00Z",
    "memory": a_memory(),
}
BUSY = {"code": "overloaded", "detail": "too many", "status": 503, "retryable": True}
REVOKED = {"code": "unauthenticated", "detail": "revoked", "status": 401, "retryable": False}


def said(*messages: dict[str, Any] | str) -> str:
    """The text of a stream: a change, a place, or a problem at its end."""
    blocks = ["retry: 1000"]
    for each in messages:
        if isinstance(each, str):
            blocks.append(f"id: {each}")
        else:
            blocks.append(f"event: {'end' if 'code' in each else 'change'}\ndata: {json.dumps(each)}")
    return "".join(f"{block}\n\n" for block in blocks)


class Api:
    """Answers one request after the other, and keeps where each wanted to begin."""

    def __init__(self, answers: Sequence[httpx.Response | Exception]) -> None:
        self._answers = list(answers)
        self.since: list[str] = []
        self.paused: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.since.append(request.url.params["since"])
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def follow(self, *, for_ever: bool = True) -> Iterator[AppliedChange | ChangePlace]:
        connection = Connection(url="http://127.0.0.1:1", api_key="soma_a_secret")
        with SomaClient(connection, httpx.MockTransport(self)) as client:
            yield from follow_changes(client, {"follow": for_ever}, "now", self.paused.append, Random(1))


def stream(*messages: dict[str, Any] | str) -> httpx.Response:
    return httpx.Response(200, text=said(*messages), headers={"Content-Type": "text/event-stream"})


def refused(problem: dict[str, Any]) -> httpx.Response:
    return httpx.Response(problem["status"], json=problem)


def test_changes_and_places_are_told_in_order_until_all_was_told() -> None:
    api = Api([stream("0:0", CHANGE, CHANGE | {"memory": None}, "0:2")])

    told = list(api.follow(for_ever=False))

    assert [each.id if isinstance(each, ChangePlace) else each.memory is None for each in told] == [
        "0:0",
        False,
        True,
        "0:2",
    ]
    assert api.since == ["now"]


def test_a_lost_connection_is_made_again_behind_the_last_place() -> None:
    api = Api(
        [
            stream("0:0", CHANGE, "0:1", CHANGE),
            httpx.ConnectError("refused"),
            refused(BUSY),
            stream(BUSY),
            stream("0:1", CHANGE, "0:2", REVOKED),
        ]
    )

    with pytest.raises(ApiRefusedError, match="revoked"):
        list(api.follow())

    assert api.since == ["now", "0:1", "0:1", "0:1", "0:1"]
    bounds = [(0.5, 1), (1, 2), (2, 4), (4, 8)]
    assert [low <= pause <= high for pause, (low, high) in zip(api.paused, bounds, strict=True)] == [True] * 4


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.ConnectError("refused"), ApiUnreachableError),
        (refused(BUSY), ApiRefusedError),
        (refused(REVOKED), ApiRefusedError),
    ],
)
def test_who_never_got_a_connection_is_told_why(
    answer: httpx.Response | Exception, error: type[Exception]
) -> None:
    api = Api([answer])

    with pytest.raises(error):
        list(api.follow())

    assert api.paused == []


def test_what_is_no_change_is_refused() -> None:
    api = Api([stream("0:0", {"something": "else"})])

    with pytest.raises(ApiRefusedError, match="does not speak"):
        list(api.follow())
