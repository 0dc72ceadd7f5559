"""What a write publishes, and what it is answered."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from api_gateway import Gateway, body_of
from builders import A_MOMENT, A_TENANT, an_id
from soma_api.roles import Role
from soma_schemas.events import MemoryDeleted, MemoryPatched, MemoryStored, PatchField
from soma_schemas.identity import memory_id_for_coordinate, memory_id_for_key
from soma_schemas.producer import DeliveryTimeoutError
from soma_schemas.registry import RegistryUnreachableError
from soma_schemas.versions import Position, pack_version

GOOD: dict[str, Any] = {"namespace": "team/notes", "text": "tea at four"}
WAIT = {"Prefer": "wait=5"}


async def test_a_memory_is_published_with_all_that_the_body_says(gateway: Gateway) -> None:
    answer = await gateway.client.post(
        "/v1/memories",
        json=GOOD
        | {
            "key": "tea",
            "kind": "SEMANTIC",
            "payload": {"a": [1, {"b": "ü"}]},
            "tags": ["x"],
            "importance": 1,
            "subject": "ada",
            "source": "a file",
            "expires_at": "2027-01-01T00:00:00+01:00",
        },
    )

    (event,) = gateway.published
    assert isinstance(event, MemoryStored)
    assert (event.tenant, event.namespace, event.key, event.kind) == (
        A_TENANT,
        "team/notes",
        "tea",
        "SEMANTIC",
    )
    assert event.payload == '{"a": [1, {"b": "ü"}]}'
    assert (event.tags, event.importance, event.subject, event.source) == (["x"], 1.0, "ada", "a file")
    assert event.expires_at is not None
    assert event.expires_at.isoformat() == "2026-12-31T23:00:00+00:00"
    assert body_of(answer)["memory_id"] == str(memory_id_for_key(A_TENANT, "team/notes", "tea"))


async def test_without_waiting_the_answer_says_where_the_write_lies(gateway: Gateway) -> None:
    answer = await gateway.client.post("/v1/memories", json=GOOD)

    (event,) = gateway.published
    assert answer.status_code == 202
    assert answer.headers["Location"] == "/v1/writes/0:0"
    assert "Preference-Applied" not in answer.headers
    assert body_of(answer) == {
        "event_id": str(event.event_id),
        "memory_id": str(event.memory_id),
        "position": "0:0",
        "version": pack_version(1, 0),
        "outcome": None,
        "reason": None,
        "status_url": "/v1/writes/0:0",
    }


async def test_the_idempotency_key_is_the_event(gateway: Gateway) -> None:
    key = an_id()

    for _ in range(2):
        await gateway.client.post("/v1/memories", json=GOOD, headers={"Idempotency-Key": str(key)})

    first, again = gateway.published
    assert first.event_id == again.event_id == key
    assert first.memory_id == again.memory_id


async def test_if_match_and_if_none_match_become_the_expected_version(gateway: Gateway) -> None:
    memory = gateway.given_memory()
    path = f"/v1/memories/{memory}"
    await gateway.client.put(path, json=GOOD, headers={"If-Match": '"7"'})
    await gateway.client.patch(path, json={"importance": 1}, headers={"If-Match": '"8"'})
    await gateway.client.delete(path, headers={"If-Match": '"9"'})
    await gateway.client.post("/v1/memories", json=GOOD, headers={"If-None-Match": "*"})

    assert [getattr(event, "expected_version", None) for event in gateway.published] == [7, 8, 9, 0]


async def test_a_batch_is_published_in_order(gateway: Gateway) -> None:
    answer = await gateway.client.post(
        "/v1/memories:batch", json={"memories": [GOOD | {"key": str(number)} for number in range(20)]}
    )

    stored = [event for event in gateway.published if isinstance(event, MemoryStored)]
    assert answer.status_code == 202
    assert [event.key for event in stored] == [str(number) for number in range(20)]
    assert [write["position"] for write in body_of(answer)["writes"]] == [
        f"0:{number}" for number in range(20)
    ]
    assert [UUID(write["event_id"]) for write in body_of(answer)["writes"]] == [
        event.event_id for event in stored
    ]


async def test_a_put_stores_at_the_id_of_its_path(gateway: Gateway) -> None:
    memory = an_id()

    await gateway.client.put(f"/v1/memories/{memory}", json=GOOD)

    assert [event.memory_id for event in gateway.published] == [memory]


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ({"key": "tea"}, memory_id_for_key(A_TENANT, "team/notes", "tea")),
        ({"coordinate": "1,-2.5"}, memory_id_for_coordinate(A_TENANT, "team/notes", [1.0, -2.5])),
    ],
)
async def test_a_put_at_a_key_or_a_coordinate_stores_what_has_that_name(
    gateway: Gateway, name: dict[str, str], memory: UUID
) -> None:
    answer = await gateway.client.put(
        "/v1/memories",
        params={"namespace": "team/notes"} | name,
        json={"text": "tea at four", "payload": {"a": 1}, "actor": "ada"},
        headers={"If-None-Match": "*"},
    )

    (event,) = gateway.published
    assert isinstance(event, MemoryStored)
    assert (answer.status_code, body_of(answer)["memory_id"]) == (202, str(memory))
    assert (event.memory_id, event.namespace, event.text) == (memory, "team/notes", "tea at four")
    assert (event.payload, event.actor, event.expected_version) == ('{"a": 1}', "ada", 0)


@pytest.mark.parametrize(
    ("query", "body", "code", "source"),
    [
        ({}, {"text": "a"}, "missing_field", "query"),
        ({"key": "a", "coordinate": "1"}, {"text": "a"}, "key_and_coordinate", "query"),
        ({"coordinate": ",".join(["1"] * 17)}, {"text": "a"}, "too_many", "query"),
        ({"key": "a" * 513}, {"text": "a"}, "too_long", "query"),
        ({"key": "a"}, {"text": "a", "key": "b"}, "unknown_field", "body"),
        ({"key": "a", "memory_id": str(UUID(int=1))}, {"text": "a"}, "unknown_field", "query"),
    ],
)
async def test_a_put_that_does_not_name_one_memory_in_its_query_is_refused(
    gateway: Gateway, query: dict[str, str], body: dict[str, str], code: str, source: str
) -> None:
    answer = await gateway.client.put("/v1/memories", params={"namespace": "team"} | query, json=body)

    (error,) = body_of(answer)["errors"]
    assert (answer.status_code, error["code"], error["source"]) == (422, code, source)
    assert gateway.published == []


async def test_a_key_for_some_namespaces_puts_nothing_at_a_name_outside_of_them(gateway: Gateway) -> None:
    gateway.use(gateway.a_key(Role.WRITER, namespaces=["mine"]))

    answer = await gateway.client.put(
        "/v1/memories", params={"namespace": "theirs", "key": "a"}, json={"text": "a"}
    )

    assert (answer.status_code, body_of(answer)["code"]) == (403, "namespace_forbidden")
    assert gateway.published == []


async def test_a_patch_lies_in_the_namespace_that_the_database_knows(gateway: Gateway) -> None:
    memory = gateway.given_memory(namespace="team/b")

    answer = await gateway.client.patch(f"/v1/memories/{memory}", json={"text": "new", "subject": None})

    (event,) = gateway.published
    assert isinstance(event, MemoryPatched)
    assert answer.status_code == 202
    assert (event.namespace, event.memory_id) == ("team/b", memory)
    assert set(event.fields) == {PatchField.TEXT, PatchField.SUBJECT}


async def test_a_merge_patch_may_say_so_in_its_media_type(gateway: Gateway) -> None:
    memory = gateway.given_memory()

    answer = await gateway.client.patch(
        f"/v1/memories/{memory}",
        content=b'{"payload": {"a": null}}',
        headers={"Content-Type": "application/merge-patch+json"},
    )

    assert answer.status_code == 202


async def test_a_memory_that_is_not_visible_yet_is_changed_where_the_request_says(gateway: Gateway) -> None:
    path = f"/v1/memories/{an_id()}"

    await gateway.client.patch(path, json={"importance": 1}, params={"namespace": "team/b"})
    await gateway.client.patch(path, json={"importance": 1, "namespace": "team/b"})
    await gateway.client.delete(path, params={"namespace": "team/b"})

    assert [event.namespace for event in gateway.published] == ["team/b"] * 3
    assert isinstance(gateway.published[2], MemoryDeleted)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_without_a_word_on_where_it_lies_a_memory_that_is_not_visible_is_not_changed(
    gateway: Gateway, method: str
) -> None:
    answer = await gateway.client.request(method, f"/v1/memories/{an_id()}", json={"importance": 1})

    assert (answer.status_code, body_of(answer)["code"]) == (404, "namespace_unknown")
    assert gateway.published == []


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_memory_is_not_changed_in_another_namespace_than_its_own(
    gateway: Gateway, method: str
) -> None:
    memory = gateway.given_memory(namespace="team/a")

    answer = await gateway.client.request(
        method, f"/v1/memories/{memory}", json={"importance": 1}, params={"namespace": "team/b"}
    )

    assert (answer.status_code, body_of(answer)["code"]) == (409, "namespace_mismatch")
    assert gateway.published == []


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("seen", [True, False])
async def test_a_key_for_some_namespaces_changes_nothing_outside_of_them(
    gateway: Gateway,
    method: str,
    seen: bool,  # noqa: FBT001  # a column of the table above
) -> None:
    memory = gateway.given_memory(namespace="board/minutes") if seen else an_id()
    gateway.use(gateway.a_key(namespaces=["team"]))

    answer = await gateway.client.request(
        method, f"/v1/memories/{memory}", json={"importance": 1}, params={"namespace": "team/a"}
    )

    assert answer.status_code == 404
    assert gateway.published == []


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_deleted_memory_is_not_there_to_be_changed(gateway: Gateway, method: str) -> None:
    memory = an_id()
    gateway.given_tombstone(memory)

    answer = await gateway.client.request(method, f"/v1/memories/{memory}", json={"importance": 1})

    assert (answer.status_code, body_of(answer)["code"]) == (404, "memory_not_found")
    assert gateway.published == []


async def test_a_change_can_wait_for_the_write_before_it(gateway: Gateway) -> None:
    answer = await gateway.client.patch(
        f"/v1/memories/{an_id()}",
        json={"importance": 1},
        headers={"Soma-Position": "0:5", "Prefer": "wait=0"},
    )

    assert (answer.status_code, body_of(answer)["code"]) == (503, "not_yet_visible")
    assert gateway.published == []


@pytest.mark.parametrize(
    "failure", [DeliveryTimeoutError("no broker"), RegistryUnreachableError("no registry")]
)
async def test_a_log_that_does_not_take_the_write_says_how_to_try_again(
    gateway: Gateway, failure: Exception
) -> None:
    gateway.publisher.refuses = failure
    key = an_id()

    answer = await gateway.client.post("/v1/memories", json=GOOD, headers={"Idempotency-Key": str(key)})

    problem = body_of(answer)
    assert (answer.status_code, problem["code"], problem["retryable"]) == (503, "log_unavailable", True)
    assert answer.headers["Retry-After"] == "1"
    assert problem["idempotency_key"] == str(key)
    assert "may have been written" in problem["remedy"]


async def test_a_failed_write_without_a_key_is_told_the_one_to_try_again_with(gateway: Gateway) -> None:
    gateway.publisher.refuses = DeliveryTimeoutError("no broker")
    failed = body_of(await gateway.client.post("/v1/memories", json=GOOD))
    gateway.publisher.refuses = None

    retried = await gateway.client.post(
        "/v1/memories", json=GOOD, headers={"Idempotency-Key": failed["idempotency_key"]}
    )

    assert body_of(retried)["event_id"] == failed["idempotency_key"]


class TestWaiting:
    async def test_a_write_that_is_applied_in_time_is_created(self, gateway: Gateway) -> None:
        gateway.settle(Position(0, 0), "applied")

        answer = await gateway.client.post("/v1/memories", json=GOOD, headers=WAIT)

        written = body_of(answer)
        assert (answer.status_code, written["outcome"]) == (201, "applied")
        assert answer.headers["Preference-Applied"] == "wait=5"
        assert answer.headers["Location"] == f"/v1/memories/{written['memory_id']}"
        assert answer.headers["ETag"] == f'"{pack_version(1, 0)}"'

    async def test_a_write_that_one_sink_has_not_passed_is_only_accepted(self, gateway: Gateway) -> None:
        gateway.given_outcome(Position(0, 0))
        gateway.waiter.advance("soma-postgres", 0, 1)

        answer = await gateway.client.post("/v1/memories", json=GOOD, headers={"Prefer": "wait=0"})

        assert (answer.status_code, body_of(answer)["outcome"]) == (202, None)
        assert answer.headers["Preference-Applied"] == "wait=0"

    async def test_the_same_event_again_is_fine_and_nothing_new(self, gateway: Gateway) -> None:
        gateway.settle(Position(0, 0), "superseded", reason="duplicate")

        answer = await gateway.client.post("/v1/memories", json=GOOD, headers=WAIT)

        assert (answer.status_code, body_of(answer)["reason"]) == (200, "duplicate")
        assert "ETag" not in answer.headers

    @pytest.mark.parametrize(
        ("outcome", "fields", "status", "code"),
        [
            ("superseded", {"reason": "version_mismatch"}, 412, "precondition_failed"),
            ("superseded", {"reason": "not_found"}, 404, "memory_not_found"),
            ("superseded", {"reason": "older"}, 409, "superseded"),
            ("superseded", {"reason": "a reason of tomorrow"}, 409, "superseded"),
            ("dead_lettered", {"error_code": "22P05"}, 422, "dead_lettered"),
        ],
    )
    async def test_a_write_that_did_not_do_what_was_asked_is_a_problem(
        self, gateway: Gateway, outcome: str, fields: dict[str, str], status: int, code: str
    ) -> None:
        gateway.settle(Position(0, 0), outcome, **fields)

        answer = await gateway.client.post("/v1/memories", json=GOOD, headers=WAIT)

        assert (answer.status_code, body_of(answer)["code"]) == (status, code)
        assert body_of(answer)["write"]["position"] == "0:0"

    @pytest.mark.parametrize("named", ["by its id", "by its key"])
    async def test_a_put_that_made_the_memory_is_told_apart_from_one_that_replaced_it(
        self, gateway: Gateway, named: str
    ) -> None:
        memory = memory_id_for_key(A_TENANT, "team/notes", "tea")
        path, body = f"/v1/memories/{memory}", GOOD | {"key": "tea"}
        if named == "by its key":
            path, body = "/v1/memories?namespace=team/notes&key=tea", {"text": "tea at four"}
        for offset, created in ((0, True), (1, False)):
            gateway.settle(Position(0, offset), memory_id=memory)
            self._as_applied(gateway, memory, offset, created=created)
            answer = await gateway.client.put(path, json=body, headers=WAIT)
            assert answer.status_code == (201 if created else 200)

    @staticmethod
    def _as_applied(gateway: Gateway, memory: UUID, offset: int, *, created: bool) -> None:
        logged_at = A_MOMENT + timedelta(seconds=offset)
        with psycopg.connect(gateway.owner_dsn) as connection:
            connection.execute("DELETE FROM memories WHERE memory_id = %s", [memory])
        gateway.given_memory(
            memory_id=memory,
            version=pack_version(1, offset),
            created_at=logged_at if created else A_MOMENT - timedelta(days=1),
            updated_at=logged_at,
        )

    async def test_a_change_that_is_applied_is_no_creation(self, gateway: Gateway) -> None:
        memory = gateway.given_memory()
        gateway.settle(Position(0, 0), memory_id=memory)
        gateway.settle(Position(0, 1), memory_id=memory)

        patched = await gateway.client.patch(f"/v1/memories/{memory}", json={"importance": 1}, headers=WAIT)
        deleted = await gateway.client.delete(f"/v1/memories/{memory}", headers=WAIT)

        assert (patched.status_code, deleted.status_code) == (200, 200)

    async def test_a_batch_tells_each_items_outcome(self, gateway: Gateway) -> None:
        gateway.settle(Position(0, 0), "applied")
        gateway.settle(Position(0, 1), "superseded", reason="version_mismatch")

        answer = await gateway.client.post(
            "/v1/memories:batch", json={"memories": [GOOD, GOOD]}, headers=WAIT
        )

        assert answer.status_code == 200
        assert [(each["outcome"], each["reason"]) for each in body_of(answer)["writes"]] == [
            ("applied", None),
            ("superseded", "version_mismatch"),
        ]

    async def test_a_batch_that_is_applied_in_time_is_created(self, gateway: Gateway) -> None:
        gateway.settle(Position(0, 0))
        gateway.settle(Position(0, 1))

        answer = await gateway.client.post(
            "/v1/memories:batch", json={"memories": [GOOD, GOOD]}, headers=WAIT
        )

        assert answer.status_code == 201

    async def test_the_wait_is_bounded_by_the_installation(self, gateway: Gateway) -> None:
        gateway.settle(Position(0, 0))

        answer = await gateway.client.post("/v1/memories", json=GOOD, headers={"Prefer": "wait=86400"})

        assert answer.headers["Preference-Applied"] == "wait=30"
