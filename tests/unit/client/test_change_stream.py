"""Following the stream of changes: what is told, and what becomes of a connection that is lost."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from canned_api import MEMORY_ID, a_memory
from fakes import FakeClock
from soma_client import (
    AsyncSomaClient,
    RefusedError,
    SomaClient,
    SomaClientError,
    UnexpectedError,
    UnreachableError,
)
from soma_client.change_stream import ChangePlace, Told

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


def stream(*messages: dict[str, Any] | str) -> httpx.Response:
    return httpx.Response(200, text=said(*messages), headers={"Content-Type": "text/event-stream"})


def refused(problem: dict[str, Any]) -> httpx.Response:
    return httpx.Response(problem["status"], json=problem)


@dataclass
class Following:
    """Follows with one of the two clients.

    Attributes:
        since: Where each connection wanted to begin.
        told: What was told.
        lost: The connections that were lost.
        place: Where the stream was at its end.
    """

    make: type[SomaClient] | type[AsyncSomaClient]
    clock: FakeClock = field(default_factory=FakeClock)
    since: list[str] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    lost: list[SomaClientError] = field(default_factory=list)
    place: str = ""

    async def __call__(
        self, answers: Sequence[httpx.Response | Exception], *, follow: bool = True, changes: bool = False
    ) -> None:
        left = list(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            self.since.append(request.url.params["since"])
            given = left.pop(0)
            if isinstance(given, Exception):
                raise given
            return httpx.Response(given.status_code, headers=given.headers, content=given.content)

        client = self.make(
            "http://memory.example",
            "soma_a_secret",
            transport=httpx.MockTransport(answer),
            clock=self.clock,
            environment={},
        )
        told = client.follow_changes(follow=follow, on_lost=self.lost.append)
        try:
            if isinstance(client, SomaClient):
                for each in told if changes else told.told():  # type: ignore[union-attr]  # of the same client
                    self.told.append(each)
            else:
                async for other in told if changes else told.told():  # type: ignore[union-attr]  # of the same client
                    self.told.append(other)
        finally:
            self.place = told.place
            closed = client.close()
            if closed is not None:
                await closed


@pytest.fixture(params=[SomaClient, AsyncSomaClient])
def following(request: pytest.FixtureRequest) -> Following:
    """Both clients."""
    return Following(request.param)


async def test_changes_and_places_are_told_in_order_until_all_was_told(following: Following) -> None:
    await following([stream("0:0", CHANGE, CHANGE | {"memory": None}, "0:2")], follow=False)

    assert [each.id if isinstance(each, ChangePlace) else each.memory is None for each in following.told] == [
        "0:0",
        False,
        True,
        "0:2",
    ]
    assert (following.since, following.place) == (["now"], "0:2")


async def test_who_iterates_gets_the_changes(following: Following) -> None:
    await following([stream("0:0", CHANGE, "0:1", CHANGE, "0:2")], follow=False, changes=True)

    assert [each.event_type for each in following.told if not isinstance(each, ChangePlace)] == [
        "MemoryStored",
        "MemoryStored",
    ]
    assert len(following.told) == 2


async def test_a_lost_connection_is_made_again_behind_the_last_place(following: Following) -> None:
    with pytest.raises(RefusedError, match="revoked"):
        await following(
            [
                stream("0:0", CHANGE, "0:1", CHANGE),
                httpx.ConnectError("refused"),
                refused(BUSY),
                stream(BUSY),
                stream("0:1", CHANGE, "0:2", REVOKED),
            ]
        )

    assert following.since == ["now", "0:1", "0:1", "0:1", "0:1"]
    assert following.place == "0:2"
    bounds = [(0.5, 1), (1, 2), (2, 4), (4, 8)]
    slept = following.clock.slept
    assert [low <= pause <= high for pause, (low, high) in zip(slept, bounds, strict=True)] == [True] * 4
    assert [error.code for error in following.lost] == ["unreachable", "unreachable", "refused", "refused"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.ConnectError("refused"), UnreachableError),
        (refused(BUSY), RefusedError),
        (refused(REVOKED), RefusedError),
    ],
)
async def test_who_never_got_a_connection_is_told_why(
    following: Following, answer: httpx.Response | Exception, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await following([answer])

    assert following.clock.slept == []


@pytest.mark.parametrize("answer", [stream("0:0", {"something": "else"}), httpx.Response(200, text="<html>")])
async def test_what_is_no_stream_of_changes_is_refused(following: Following, answer: httpx.Response) -> None:
    with pytest.raises(SomaClientError) as raised:
        await following([answer])

    assert isinstance(raised.value, UnexpectedError | UnreachableError)
