"""The history of memories over HTTP: what may be told of it, what a memory was, and going back to it."""

import json
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
import pytest

from api_gateway import Gateway, body_of
from builders import A_TENANT, an_id
from soma_schemas.events import MemoryStored
from soma_schemas.versions import pack_version

SAID: dict[str, Any] = {
    "key": None,
    "coordinate": None,
    "kind": "SEMANTIC",
    "text": "Tea at four.",
    "payload": {"cups": 1, "big": 2**60},
    "tags": ["tea"],
    "importance": 0.5,
    "embedding_model": None,
    "subject": None,
    "source": None,
    "expires_at": None,
}


_PARTITIONS = count()


class Told:
    """Writes the history of a memory, as the sink does, from its first event on."""

    def __init__(self, gateway: Gateway, memory_id: UUID, namespace: str = "team") -> None:
        self._gateway = gateway
        self.memory_id = memory_id
        self.namespace = namespace
        # Each memory in its own, where no other has a version.
        self.partition = next(_PARTITIONS)
        self.version = pack_version(1, 0)

    def at(self, version: int) -> datetime:
        return self._gateway.clock.now() + timedelta(seconds=version - pack_version(1, 0))

    def add(
        self,
        event_type: str | None,
        content: dict[str, Any] | None = None,
        outcome: str = "applied",
        **fields: Any,
    ) -> int:
        self.version += 1
        row = {
            "partition": self.partition,
            "version": self.version,
            "logged_at": self.at(self.version),
            "occurred_at": self.at(self.version),
            "tenant": A_TENANT,
            "memory_id": self.memory_id,
            "event_id": an_id(),
            "event_type": event_type,
            "namespace": self.namespace,
            "actor": "ada",
            "outcome": outcome,
            "content": None if content is None else json.dumps(content),
            **fields,
        }
        columns = ", ".join(row)
        with psycopg.connect(self._gateway.worker_dsn) as connection:
            connection.execute("SELECT soma_ensure_history_partition(%s)", [row["logged_at"].date()])
            connection.execute(
                f"INSERT INTO memory_history ({columns}) VALUES ({', '.join(['%s'] * len(row))})",  # noqa: S608
                list(row.values()),
            )
        return self.version


@pytest.fixture
def told(gateway: Gateway) -> Told:
    """The history of a living memory: stored, patched, refused once, patched again."""
    told = Told(gateway, gateway.given_memory(namespace="team"))
    told.add("MemoryStored", SAID)
    told.add("MemoryPatched", {"importance": 0.9})
    told.add("MemoryPatched", outcome="superseded", reason="version_mismatch")
    told.add("MemoryPatched", {"text": "Tea at five.", "payload": {"cups": None}})
    return told


async def history(gateway: Gateway, memory_id: UUID, **asked: Any) -> Any:
    answer = await gateway.client.get(f"/v1/memories/{memory_id}/history", params=asked)
    assert answer.status_code == 200, answer.text
    return body_of(answer)


async def revision(gateway: Gateway, memory_id: UUID, **asked: Any) -> tuple[int, Any]:
    answer = await gateway.client.get(f"/v1/memories/{memory_id}/revision", params=asked)
    return answer.status_code, json.loads(answer.text)


async def test_the_history_tells_who_changed_what_and_what_was_refused(gateway: Gateway, told: Told) -> None:
    events = (await history(gateway, told.memory_id))["events"]

    assert [(each["outcome"], each["reason"]) for each in events] == [
        ("applied", None),
        ("superseded", "version_mismatch"),
        ("applied", None),
        ("applied", None),
    ]
    assert {each["actor"] for each in events} == {"ada"}
    changes = [
        {each["field"]: (each["before"], each["after"]) for each in event["changes"]} for event in events
    ]
    assert changes[0] == {
        "text": ("Tea at four.", "Tea at five."),
        "payload": ({"cups": 1, "big": 2**60}, {"big": 2**60}),
    }
    assert changes[1:3] == [{}, {"importance": (0.5, 0.9)}]
    assert changes[3]["text"] == (None, "Tea at four.")


async def test_pages_of_a_history_fit_together(gateway: Gateway, told: Told) -> None:
    whole = (await history(gateway, told.memory_id))["events"]
    found: list[Any] = []
    asked: dict[str, str] = {}
    while True:
        page = await history(gateway, told.memory_id, limit=1, **asked)
        found += page["events"]
        if page["next_cursor"] is None:
            break
        asked = {"cursor": page["next_cursor"]}

    assert found == whole
    other = Told(gateway, gateway.given_memory(namespace="team"))
    refused = await gateway.client.get(f"/v1/memories/{other.memory_id}/history", params=asked)
    assert (refused.status_code, body_of(refused)["code"]) == (400, "invalid_cursor")


async def test_a_memory_is_read_as_it_was(gateway: Gateway, told: Told) -> None:
    first = pack_version(1, 1)

    _, by_version = await revision(gateway, told.memory_id, version=first + 1)
    _, by_time = await revision(gateway, told.memory_id, at=told.at(first + 1).isoformat())

    assert by_version == by_time
    assert by_version["version"] == first + 1
    assert by_version["memory"]["text"] == "Tea at four."
    assert by_version["memory"]["importance"] == 0.9
    assert by_version["memory"]["payload"] == {"cups": 1, "big": 2**60}
    asked: dict[str, Any]
    for asked in ({"version": first - 1}, {"at": "2001-01-01T00:00:00Z"}):
        status, answer = await revision(gateway, told.memory_id, **asked)
        assert (status, answer["code"]) == (404, "revision_not_found")
    for asked in ({}, {"version": first, "at": "2001-01-01T00:00:00Z"}):
        assert (await revision(gateway, told.memory_id, **asked))[0] == 422


async def test_going_back_stores_what_the_memory_was(gateway: Gateway, told: Told) -> None:
    answer = await gateway.client.post(
        f"/v1/memories/{told.memory_id}:revert", json={"version": pack_version(1, 1)}
    )

    (event,) = gateway.published
    assert answer.status_code == 202, answer.text
    assert isinstance(event, MemoryStored)
    assert (event.memory_id, event.namespace, event.text) == (told.memory_id, "team", "Tea at four.")
    assert json.loads(event.payload) == SAID["payload"]
    held = body_of(await gateway.client.get(f"/v1/memories/{told.memory_id}"))
    assert event.expected_version == held["version"]


async def test_a_deleted_memory_comes_back(gateway: Gateway) -> None:
    gone = an_id()
    gateway.given_tombstone(gone)
    told = Told(gateway, gone)
    stored = told.add("MemoryStored", SAID)
    deleted = told.add("MemoryDeleted")

    events = (await history(gateway, gone))["events"]
    assert [each["event_type"] for each in events] == ["MemoryDeleted", "MemoryStored"]
    assert (await revision(gateway, gone, version=deleted))[0] == 404
    answer = await gateway.client.post(f"/v1/memories/{gone}:revert", json={"version": stored})
    assert answer.status_code == 202, answer.text
    (event,) = gateway.published
    assert isinstance(event, MemoryStored)
    assert event.expected_version == 0


async def test_what_was_before_an_expiry_is_not_told(gateway: Gateway) -> None:
    told = Told(gateway, gateway.given_memory(namespace="team"))
    before = told.add("MemoryStored", SAID)
    told.add("MemoryExpired")
    again = told.add("MemoryStored", SAID | {"text": "Coffee."})

    events = (await history(gateway, told.memory_id))["events"]

    assert [each["version"] for each in events] == [again]
    assert {each["before"] for each in events[0]["changes"]} == {None}
    assert (await revision(gateway, told.memory_id, version=before))[0] == 404
    gone = Told(gateway, an_id())
    gateway.given_tombstone(gone.memory_id)
    gone.add("MemoryStored", SAID)
    gone.add("MemoryExpired")
    answer = await gateway.client.get(f"/v1/memories/{gone.memory_id}/history")
    assert (answer.status_code, body_of(answer)["code"]) == (404, "memory_not_found")


async def test_an_expired_memory_has_no_history(gateway: Gateway) -> None:
    told = Told(gateway, gateway.given_memory(namespace="team", expires_at=gateway.clock.now()))
    version = told.add("MemoryStored", SAID)

    for answer in (
        await gateway.client.get(f"/v1/memories/{told.memory_id}/history"),
        await gateway.client.get(f"/v1/memories/{told.memory_id}/revision", params={"version": version}),
        await gateway.client.post(f"/v1/memories/{told.memory_id}:revert", json={"version": version}),
    ):
        assert (answer.status_code, body_of(answer)["code"]) == (404, "memory_not_found")
    assert gateway.published == []


async def test_a_key_sees_the_history_of_its_own_namespaces_alone(gateway: Gateway) -> None:
    told = Told(gateway, gateway.given_memory(namespace="team"), namespace="board")
    before = told.add("MemoryStored", SAID | {"text": "the board's"})
    told.add("MemoryDeleted")
    told.namespace = "team"
    told.add("MemoryStored", SAID)
    told.add(None, outcome="dead_lettered", namespace=None)
    gateway.use(gateway.a_key(namespaces=["team"]))

    answer = await history(gateway, told.memory_id)

    assert [each["version"] for each in answer["events"]] == [told.version - 1]
    assert "board" not in json.dumps(answer)
    assert (await revision(gateway, told.memory_id, version=before))[0] == 404
    outside = Told(gateway, gateway.given_memory(namespace="board"))
    outside.add("MemoryStored", SAID)
    for path in ("history", "revision?version=1"):
        refused = await gateway.client.get(f"/v1/memories/{outside.memory_id}/{path}")
        assert (refused.status_code, body_of(refused)["code"]) == (404, "memory_not_found")


async def test_an_open_erasure_hides_what_it_selects(gateway: Gateway) -> None:
    told = Told(gateway, gateway.given_memory(namespace="team"))
    of_mira = told.add("MemoryStored", SAID | {"subject": "mira", "text": "of mira"})
    told.add("MemoryPatched", {"subject": None, "text": "of nobody"})
    with psycopg.connect(gateway.worker_dsn) as connection:
        connection.execute(
            "INSERT INTO erasures (tenant, request_id, scope, selector, actor, requested_at, accepted_at, "
            "before_versions, state) VALUES (%s, %s, 'SUBJECT', 'mira', 'a', now(), now(), '{}', 'accepted')",
            [A_TENANT, an_id()],
        )

    answer = await history(gateway, told.memory_id)

    assert "mira" not in json.dumps(answer)
    assert [each["changes"] for each in answer["events"]] == [None, None]
    assert (await revision(gateway, told.memory_id, version=of_mira))[0] == 404
    assert (await revision(gateway, told.memory_id, version=of_mira + 1))[1]["memory"]["text"] == "of nobody"


@pytest.mark.parametrize("body", [{}, {"version": 0}, {"version": "1"}, {"version": 1, "x": 1}])
async def test_a_wish_to_go_back_that_breaks_the_contract_is_refused(
    gateway: Gateway, told: Told, body: dict[str, Any]
) -> None:
    answer = await gateway.client.post(f"/v1/memories/{told.memory_id}:revert", json=body)

    assert answer.status_code == 422
    assert gateway.published == []
