"""What reads answer, to whom, and how old it may be."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from api_gateway import Gateway, body_of
from builders import A_MOMENT, A_NAMESPACE, an_id
from soma_schemas.events import MemoryAccessed
from soma_schemas.versions import Position, pack_version


async def test_what_a_key_reads_is_counted_where_the_key_asks_for_it(gateway: Gateway) -> None:
    read, _ = gateway.given_memory(), gateway.given_memory()
    path = f"/v1/memories/{read}"
    await gateway.client.get(path)
    gateway.use(gateway.a_key(record_access=True))

    etag = (await gateway.client.get(path)).headers["etag"]
    unchanged = await gateway.client.get(path, headers={"If-None-Match": etag})
    missing = await gateway.client.get(f"/v1/memories/{UUID(int=1)}")
    await gateway.client.get("/v1/memories")
    assert (unchanged.status_code, missing.status_code) == (304, 404)
    assert gateway.published == []
    await gateway.accesses.tell()

    (event,) = gateway.published
    assert isinstance(event, MemoryAccessed)
    assert (event.memory_id, event.count, event.namespace) == (read, 2, A_NAMESPACE)


async def test_a_memory_is_read_as_it_is(gateway: Gateway) -> None:
    memory = gateway.given_memory(
        key="tea",
        text="Ada prefers tea ☕",
        payload='{"a": {"b": [1, 2.50]}}',
        tags=["x", "y"],
        importance=0.25,
        subject="ada",
        source="https://chat.example/ada/42",
        expires_at=datetime(2027, 1, 1, tzinfo=UTC),
    )

    answer = await gateway.client.get(f"/v1/memories/{memory}")

    assert answer.status_code == 200
    assert body_of(answer) == {
        "memory_id": str(memory),
        "version": pack_version(1, 7),
        "namespace": "team/notes",
        "key": "tea",
        "coordinate": None,
        "kind": "EPISODIC",
        "text": "Ada prefers tea ☕",
        "payload": {"a": {"b": [1, 2.5]}},
        "tags": ["x", "y"],
        "importance": 0.25,
        "subject": "ada",
        "source": "https://chat.example/ada/42",
        "actor": "tester",
        "embedding_model": None,
        "occurred_at": "2026-03-02T09:00:00Z",
        "created_at": "2026-03-02T09:00:00Z",
        "updated_at": "2026-03-02T09:00:00Z",
        "expires_at": "2027-01-01T00:00:00Z",
        "ends_at": "2027-01-01T00:00:00Z",
        "access_count": 0,
        "last_accessed_at": None,
    }


async def test_the_embedding_that_came_with_a_memory_is_returned_on_request(gateway: Gateway) -> None:
    memory = gateway.given_memory(embedding=[0.1, -2.5], embedding_model="mine")

    one = body_of(await gateway.client.get(f"/v1/memories/{memory}", params={"embeddings": True}))
    many = body_of(await gateway.client.get("/v1/memories", params={"embeddings": True}))
    without = body_of(await gateway.client.get(f"/v1/memories/{memory}"))

    assert one["embedding"] == many["memories"][0]["embedding"] == [0.1, -2.5]
    assert "embedding" not in without


async def test_a_reader_who_has_the_version_is_not_sent_it_again(gateway: Gateway) -> None:
    path = f"/v1/memories/{gateway.given_memory()}"
    tag = (await gateway.client.get(path)).headers["ETag"]

    unchanged = await gateway.client.get(path, headers={"If-None-Match": tag})
    changed = await gateway.client.get(path, headers={"If-None-Match": '"1"'})

    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    assert changed.status_code == 200


async def test_what_is_not_there_is_not_found(gateway: Gateway) -> None:
    tombstone = an_id()
    gateway.given_tombstone(tombstone)

    for memory in (an_id(), tombstone):
        answer = await gateway.client.get(f"/v1/memories/{memory}")
        assert (answer.status_code, body_of(answer)["code"]) == (404, "memory_not_found")


async def test_another_tenants_memory_is_not_there(gateway: Gateway) -> None:
    memory = gateway.given_memory(tenant="globex")

    one = await gateway.client.get(f"/v1/memories/{memory}")
    many = await gateway.client.get("/v1/memories")

    assert one.status_code == 404
    assert body_of(many)["memories"] == []


async def test_a_memory_outside_of_what_the_key_covers_is_not_there(gateway: Gateway) -> None:
    inside = gateway.given_memory(namespace="team/a/b")
    sibling = gateway.given_memory(namespace="team/ab")
    gateway.use(gateway.a_key(namespaces=["team/a"]))

    assert (await gateway.client.get(f"/v1/memories/{inside}")).status_code == 200
    assert (await gateway.client.get(f"/v1/memories/{sibling}")).status_code == 404


class TestPositions:
    async def test_a_read_waits_for_a_position_and_then_answers(self, gateway: Gateway) -> None:
        memory = gateway.given_memory()
        gateway.waiter.advance("soma-postgres", 3, 1043)

        answer = await gateway.client.get(
            f"/v1/memories/{memory}", headers={"Soma-Position": "3:1042", "Prefer": "wait=5"}
        )

        assert answer.status_code == 200
        assert answer.headers["Preference-Applied"] == "wait=5"

    async def test_a_position_that_is_not_visible_in_time_is_no_answer(self, gateway: Gateway) -> None:
        answer = await gateway.client.get(
            "/v1/memories", headers={"Soma-Position": "0:0, 3:1042", "Prefer": "wait=0"}
        )

        assert (answer.status_code, body_of(answer)["code"]) == (503, "not_yet_visible")
        assert body_of(answer)["retryable"] is True
        assert answer.headers["Retry-After"] == "1"

    async def test_a_position_that_is_none_is_refused(self, gateway: Gateway) -> None:
        answer = await gateway.client.get("/v1/memories", headers={"Soma-Position": "here"})

        assert (answer.status_code, body_of(answer)["code"]) == (400, "invalid_header")


class TestStaleness:
    async def test_an_answer_says_how_old_it_may_be(self, gateway: Gateway) -> None:
        for partition in range(3):
            gateway.waiter.advance("soma-postgres", partition, 1000)
        await gateway.freshness.sample()
        gateway.clock.advance(0.25)

        answer = await gateway.client.get("/v1/memories")

        assert answer.headers["Soma-Staleness"] == "0.250"

    async def test_an_age_that_nobody_knows_is_said_to_be_unknown(self, gateway: Gateway) -> None:
        answer = await gateway.client.get("/v1/memories")

        assert answer.headers["Soma-Staleness"] == "unknown"

    @pytest.mark.parametrize("known", [True, False])
    async def test_an_answer_that_could_be_too_old_is_refused(self, gateway: Gateway, known: bool) -> None:  # noqa: FBT001  # a column of the table above
        if known:
            for partition in range(3):
                gateway.waiter.advance("soma-postgres", partition, 1000)
            await gateway.freshness.sample()
            gateway.clock.advance(3)

        answer = await gateway.client.get("/v1/memories", headers={"Soma-Max-Staleness": "2.5"})

        assert (answer.status_code, body_of(answer)["code"]) == (503, "too_stale")


class TestWrites:
    async def test_a_write_that_no_sink_has_passed_is_pending(self, gateway: Gateway) -> None:
        answer = body_of(await gateway.client.get("/v1/writes/0:7"))

        assert (answer["state"], answer["readable"], answer["searchable"]) == ("pending", False, False)

    async def test_a_write_is_readable_before_it_is_searchable(self, gateway: Gateway) -> None:
        gateway.given_outcome(Position(0, 7))
        gateway.waiter.advance("soma-postgres", 0, 8)

        answer = body_of(await gateway.client.get("/v1/writes/0:7"))

        assert (answer["state"], answer["readable"], answer["searchable"]) == ("applied", True, False)

    async def test_a_settled_write_tells_what_it_was(self, gateway: Gateway) -> None:
        memory, event = an_id(), an_id()
        gateway.settle(Position(0, 7), memory_id=memory, event_id=event)

        answer = body_of(await gateway.client.get("/v1/writes/0:7"))

        assert answer == {
            "position": "0:7",
            "state": "applied",
            "readable": True,
            "searchable": True,
            "reason": None,
            "error_code": None,
            "dead_letters": {},
            "event_id": str(event),
            "memory_id": str(memory),
            "event_type": "MemoryStored",
        }

    async def test_a_superseded_write_says_why(self, gateway: Gateway) -> None:
        gateway.settle(Position(0, 7), "superseded", reason="version_mismatch")

        answer = body_of(await gateway.client.get("/v1/writes/0:7"))

        assert (answer["state"], answer["reason"]) == ("superseded", "version_mismatch")

    async def test_a_dead_letter_says_where_and_why(self, gateway: Gateway) -> None:
        gateway.settle(Position(0, 7), "dead_lettered", error_code="22P05")
        gateway.given_dead_letter(Position(0, 7), "soma-vectors", "unfit_vector")

        answer = body_of(await gateway.client.get("/v1/writes/0:7"))

        assert (answer["state"], answer["error_code"]) == ("dead_lettered", "22P05")
        assert (answer["readable"], answer["searchable"]) == (True, False)
        assert answer["dead_letters"] == {"soma-vectors": "unfit_vector"}

    @pytest.mark.parametrize("position", ["9:1", "0:1000", "0:99999", "7", "a:b", "0:-1"])
    async def test_a_position_that_the_log_does_not_have_is_not_found(
        self, gateway: Gateway, position: str
    ) -> None:
        answer = await gateway.client.get(f"/v1/writes/{position}")

        assert (answer.status_code, body_of(answer)["code"]) == (404, "write_not_found")

    async def test_another_tenants_write_is_not_found(self, gateway: Gateway) -> None:
        gateway.settle(Position(0, 7), tenant="globex")
        gateway.given_dead_letter(Position(0, 7), "soma-vectors", "secret", tenant="globex")

        answer = await gateway.client.get("/v1/writes/0:7")

        assert answer.status_code == 404
        assert "secret" not in answer.text

    async def test_a_write_outside_of_what_the_key_covers_is_not_found(self, gateway: Gateway) -> None:
        gateway.settle(Position(0, 7), namespace="board/minutes")
        gateway.use(gateway.a_key(namespaces=["team"]))

        assert (await gateway.client.get("/v1/writes/0:7")).status_code == 404


class TestNamespaces:
    async def nodes(self, gateway: Gateway, **asked: str | int) -> dict[str, int]:
        answer = body_of(await gateway.client.get("/v1/namespaces", params=asked))
        assert answer["truncated"] is False
        return {node["namespace"]: node["memories"] for node in answer["namespaces"]}

    @pytest.fixture(autouse=True)
    def _memories(self, gateway: Gateway) -> None:
        for namespace in ("team/a", "team/a", "team/a/notes", "team/ab", "board"):
            gateway.given_memory(namespace=namespace)
        gateway.given_memory(tenant="globex", namespace="secret")
        gateway.given_tombstone(an_id())

    async def test_the_tree_counts_what_lies_in_and_below(self, gateway: Gateway) -> None:
        assert await self.nodes(gateway) == {
            "board": 1,
            "team": 4,
            "team/a": 3,
            "team/a/notes": 1,
            "team/ab": 1,
        }

    async def test_a_prefix_does_not_match_a_longer_sibling(self, gateway: Gateway) -> None:
        assert await self.nodes(gateway, prefix="team/a") == {"team/a": 3, "team/a/notes": 1}

    @pytest.mark.parametrize("sibling", ["team/a-b", "team/a.b", "team/a0"])
    async def test_a_prefix_and_a_key_compare_segments(self, gateway: Gateway, sibling: str) -> None:
        gateway.given_memory(namespace=sibling)
        expected = {"team/a": 3, "team/a/notes": 1}

        assert await self.nodes(gateway, prefix="team/a") == expected
        gateway.use(gateway.a_key(namespaces=["team/a"]))
        assert await self.nodes(gateway) == expected | {"team": 3}

    async def test_what_lies_deeper_is_counted_at_the_depth(self, gateway: Gateway) -> None:
        assert await self.nodes(gateway, depth=1) == {"board": 1, "team": 4}
        assert await self.nodes(gateway, prefix="team", depth=1) == {"team": 4, "team/a": 3, "team/ab": 1}

    async def test_a_suffix_matches_whole_segments(self, gateway: Gateway) -> None:
        assert await self.nodes(gateway, suffix="a") == {"team": 2, "team/a": 2}
        assert await self.nodes(gateway, suffix="a/notes") == {"team": 1, "team/a": 1, "team/a/notes": 1}

    async def test_a_key_for_some_namespaces_sees_no_others(self, gateway: Gateway) -> None:
        gateway.use(gateway.a_key(namespaces=["team/a", "elsewhere"]))

        assert await self.nodes(gateway) == {"team": 3, "team/a": 3, "team/a/notes": 1}
        assert (await gateway.client.get("/v1/namespaces", params={"prefix": "board"})).status_code == 403

    @pytest.mark.parametrize("asked", [{"depth": 0}, {"depth": 17}, {"prefix": "team//a"}])
    async def test_a_tree_that_cannot_be_asked_for_is_refused(
        self, gateway: Gateway, asked: dict[str, str | int]
    ) -> None:
        answer = await gateway.client.get("/v1/namespaces", params=asked)

        (error,) = body_of(answer)["errors"]
        assert (answer.status_code, error["source"], error["path"]) == (
            422,
            "query",
            f"/{next(iter(asked))}",
        )

    async def test_statistics_count_what_the_key_sees(self, gateway: Gateway) -> None:
        everything = body_of(await gateway.client.get("/v1/stats"))
        gateway.use(gateway.a_key(namespaces=["team/a"]))
        some = body_of(await gateway.client.get("/v1/stats"))

        assert (everything["memories"], everything["namespaces"], everything["links"]) == (5, 4, 0)
        assert everything["memories_by_kind"] == {"EPISODIC": 5}
        assert (some["memories"], some["namespaces"], some["links"]) == (3, 2, None)


async def test_a_payload_is_passed_on_without_being_read(gateway: Gateway) -> None:
    memory = gateway.given_memory(payload=json.dumps({"big": 12345678901234567890123, "tea": "\u2028"}))

    answer = await gateway.client.get(f"/v1/memories/{memory}")

    assert body_of(answer)["payload"] == {"big": 12345678901234567890123, "tea": "\u2028"}


async def test_times_are_told_in_utc_to_the_microsecond(gateway: Gateway) -> None:
    memory = gateway.given_memory(occurred_at=A_MOMENT.replace(microsecond=123456))

    answer = body_of(await gateway.client.get(f"/v1/memories/{memory}"))

    assert answer["occurred_at"] == "2026-03-02T09:00:00.123456Z"
    assert UUID(answer["memory_id"]) == memory
