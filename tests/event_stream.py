"""Asks the API for a stream of server-sent events, and reads it as long as a test wants to."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI

from waiting import eventually_so


@dataclass
class EventStream:
    """What was received of a stream.

    Attributes:
        status: Of the answer; 0 before there is one.
        headers: Of the answer.
        body: As it came.
        ended: Whether the server has ended it.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False

    def messages(self) -> list[dict[str, str]]:
        """Return the messages that are whole, each as its fields."""
        blocks = self.body.decode().split("\n\n")[:-1]
        return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]

    def changes(self) -> list[dict[str, Any]]:
        """Return the changes that were told."""
        return [json.loads(each["data"]) for each in self.messages() if each.get("event") == "change"]

    def last_id(self) -> str:
        """Return what to go on with."""
        return next(each["id"] for each in reversed(self.messages()) if "id" in each)

    async def told(self, count: int) -> list[dict[str, Any]]:
        """Return the changes once there are so many, and their place with them."""
        return await eventually_so(
            self.changes, lambda changes: len(changes) >= count and self.messages()[-1].keys() == {"id"}
        )


@asynccontextmanager
async def followed(
    application: FastAPI, key: str, /, sent_headers: Mapping[str, str] | None = None, **query: str
) -> AsyncIterator[EventStream]:
    """Follow changes until the block ends.

    Args:
        application: The API.
        key: Of whom.
        sent_headers: Sent besides.
        query: Parameters.
    """
    stream, gone = EventStream(), asyncio.Event()
    sent = {"authorization": f"Bearer {key}", **(sent_headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/changes",
        "raw_path": b"/v1/changes",
        "root_path": "",
        "query_string": urlencode(query).encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("soma", 80),
    }
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in asked:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            stream.status = message["status"]
            stream.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            stream.body += message["body"]
            stream.ended = not message.get("more_body", False)

    serving = asyncio.create_task(application(scope, receive, send))
    try:
        await eventually_so(lambda: stream.body or serving.done())
        yield stream
    finally:
        gone.set()
        await serving
