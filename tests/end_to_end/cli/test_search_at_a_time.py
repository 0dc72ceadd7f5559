"""A search at a time through the API: the index says what there is, the history what there was."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from soma_client.client_file import read_client_file
from soma_up import Up

NAMESPACE = "then/tea"


class Client:
    """Writes and searches; a write returns once both stores have it."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def put(self, key: str, text: str) -> tuple[int, str]:
        """Store a memory, and return its version and when the log took it."""
        params = {"namespace": NAMESPACE, "key": key}
        return self._settled(self._http.put("/v1/memories", params=params, json={"text": text}))

    def delete(self, key: str) -> tuple[int, str]:
        """Delete a memory, and return the version of that and when the log took it."""
        params: dict[str, str | int] = {"namespace": NAMESPACE, "key": key, "limit": 1}
        (memory,) = self._http.get("/v1/memories", params=params).json()["memories"]
        return self._settled(self._http.delete(f"/v1/memories/{memory['memory_id']}"))

    def _settled(self, answer: httpx.Response) -> tuple[int, str]:
        written = answer.raise_for_status().json()
        assert written["outcome"] == "applied"
        history = self._http.get(f"/v1/memories/{written['memory_id']}/history").json()
        newest = history["events"][0]
        assert newest["version"] == written["version"]
        return written["version"], newest["logged_at"]

    def found(self, at: str | None = None) -> dict[str, tuple[str, int | None]]:
        """Search, and return text and version at the time of each hit, by key."""
        body: dict[str, Any] = {"query": "tea", "filter": {"namespace": NAMESPACE}, "at": at}
        answer = self._http.post("/v1/search", json=body).raise_for_status().json()
        assert (answer["at"] is None) == (at is None)
        return {hit["memory"]["key"]: (hit["memory"]["text"], hit["version_at"]) for hit in answer["hits"]}


@pytest.fixture
def client(stack: Up) -> Iterator[Client]:
    beside = read_client_file(stack.home)
    assert beside is not None
    headers = {"X-API-Key": beside.api_key, "Prefer": "wait=60"}
    with httpx.Client(base_url=beside.url, headers=headers, timeout=90, trust_env=False) as http:
        yield Client(http)


def test_it_finds_what_was_there_then_and_is_there_now_as_it_is_now(client: Client) -> None:
    first, _ = client.put("changed", "green tea")
    client.put("deleted", "black tea")
    again, then = client.put("again", "white tea")
    changed, _ = client.put("changed", "green tea with mint")
    client.delete("deleted")
    _, between = client.delete("again")
    anew, afterwards = client.put("again", "white tea once more")
    client.put("later", "cold tea")

    now = {"changed": "green tea with mint", "again": "white tea once more", "later": "cold tea"}
    assert client.found() == {key: (text, None) for key, text in now.items()}
    assert client.found(then) == {"changed": (now["changed"], first), "again": (now["again"], again)}
    assert client.found(between) == {"changed": (now["changed"], changed)}
    assert client.found(afterwards) == {"changed": (now["changed"], changed), "again": (now["again"], anew)}
    assert client.found("2001-01-01T00:00:00Z") == {}
