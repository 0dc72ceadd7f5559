"""What lists hold, in what order, and how their pages join."""

from datetime import timedelta
from math import dist
from typing import Any
from uuid import UUID

import pytest

from api_gateway import Gateway, body_of
from builders import A_MOMENT, A_TENANT, an_id
from soma_api.queries import memory_queries, nearness
from soma_schemas.identity import memory_id_for_coordinate, memory_id_for_key


async def listed(gateway: Gateway, **asked: Any) -> list[UUID]:
    answer = await gateway.client.get("/v1/memories", params=asked)
    assert answer.status_code == 200, answer.text
    return [UUID(memory["memory_id"]) for memory in body_of(answer)["memories"]]


async def pages(gateway: Gateway, limit: int, **asked: Any) -> list[UUID]:
    found: list[UUID] = []
    cursor: dict[str, str] = {}
    while True:
        answer = body_of(await gateway.client.get("/v1/memories", params={**asked, **cursor, "limit": limit}))
        assert len(answer["memories"]) <= limit
        found += [UUID(memory["memory_id"]) for memory in answer["memories"]]
        if answer["next_cursor"] is None:
            return found
        cursor = {"cursor": answer["next_cursor"]}


@pytest.mark.parametrize(
    ("fields", "asked", "other"),
    [
        ({"namespace": "team/a"}, {"namespace": "team/a"}, {"namespace": "team/a/b"}),
        ({"namespace": "team/a/b"}, {"namespace_prefix": "team/a"}, {"namespace": "team/ab"}),
        ({"namespace": "team/a"}, {"namespace_prefix": "team/a"}, {"namespace": "team"}),
        ({"kind": "SEMANTIC"}, {"kind": "SEMANTIC"}, {}),
        ({"subject": "ada"}, {"subject": "ada"}, {"subject": "bob"}),
        ({"source": "a file"}, {"source": "a file"}, {"source": "another"}),
        ({"tags": ["a", "b", "c"]}, {"tags": ["c", "a"]}, {"tags": ["a"]}),
        ({"importance": 0.7}, {"importance_min": 0.7}, {"importance": 0.69}),
        ({"importance": 0.3}, {"importance_max": 0.3}, {"importance": 0.31}),
        (
            {"occurred_at": A_MOMENT},
            {"occurred_from": "2026-03-02T09:00:00Z", "occurred_before": "2026-03-02T09:00:01Z"},
            {"occurred_at": A_MOMENT + timedelta(seconds=1)},
        ),
        (
            {"created_at": A_MOMENT - timedelta(seconds=1)},
            {"created_before": "2026-03-02T10:00:00+01:00"},
            {"created_at": A_MOMENT},
        ),
        (
            {"updated_at": A_MOMENT + timedelta(days=1)},
            {"updated_from": "2026-03-03T09:00:00Z"},
            {"updated_at": A_MOMENT},
        ),
        ({"payload": '{"a": 1, "b": 2}'}, {"payload": '{"a": 1}'}, {"payload": '{"a": 2, "b": 1}'}),
        (
            {"payload": '{"a": {"b": "x", "c": 1}}'},
            {"payload": '{"a": {"b": "x"}}'},
            {"payload": '{"b": "x"}'},
        ),
        (
            {"payload": '{"a": {"b": [1, "x"]}}'},
            {"payload": '{"a.b": 1.0}'},
            {"payload": '{"a": {"b": [[1]]}}'},
        ),
        ({"payload": '{"a": 1e30}'}, {"payload": '{"a": 1' + "0" * 30 + "}"}, {"payload": '{"a": 1e31}'}),
        (
            {"coordinate": [1.0, 5.0]},
            {"coordinate_min": "0,5", "coordinate_max": "1,6"},
            {"coordinate": [1.0, 4.9]},
        ),
        (
            {"coordinate": [-1.0]},
            {"coordinate_min": "-1", "coordinate_max": "-1"},
            {"coordinate": [-1.0, 0.0]},
        ),
        (
            {"coordinate": [0.0, 0.0, 3.0]},
            {"coordinate_min": "0,0,3", "coordinate_max": "0,0,3"},
            {"coordinate": [0.0, 0.0, 3.1]},
        ),
    ],
)
async def test_a_filter_keeps_what_matches_and_leaves_out_what_does_not(
    gateway: Gateway, fields: dict[str, Any], asked: dict[str, Any], other: dict[str, Any]
) -> None:
    wanted = gateway.given_memory(**fields)
    gateway.given_memory(**other)
    gateway.given_memory(tenant="globex", **fields)
    gateway.given_tombstone(an_id())

    assert await listed(gateway, **asked) == [wanted]


async def test_every_filter_must_match(gateway: Gateway) -> None:
    gateway.given_memory(kind="SEMANTIC", importance=0.1)
    gateway.given_memory(kind="EPISODIC", importance=0.9)

    assert await listed(gateway, kind="SEMANTIC", importance_min=0.5) == []


async def test_a_key_finds_its_memory(gateway: Gateway) -> None:
    memory = memory_id_for_key(A_TENANT, "team/notes", "tea")
    gateway.given_memory(memory_id=memory, key="tea")
    gateway.given_memory(memory_id=memory_id_for_key(A_TENANT, "team", "tea"), key="tea", namespace="team")

    assert await listed(gateway, namespace="team/notes", key="tea") == [memory]
    assert await listed(gateway, namespace="team/notes", key="coffee") == []


async def test_a_coordinate_finds_its_memory(gateway: Gateway) -> None:
    memory = memory_id_for_coordinate(A_TENANT, "team/notes", [1.0, -2.5])
    gateway.given_memory(memory_id=memory, coordinate=[1.0, -2.5])

    assert await listed(gateway, namespace="team/notes", coordinate="1,-2.5") == [memory]
    assert await listed(gateway, namespace="team/notes", coordinate="1,2.5") == []


async def test_an_id_that_has_the_keys_place_without_its_key_is_not_taken_for_it(gateway: Gateway) -> None:
    gateway.given_memory(memory_id=memory_id_for_key(A_TENANT, "team/notes", "tea"), key=None)

    assert await listed(gateway, namespace="team/notes", key="tea") == []


async def test_rare_and_common_tags_find_the_same(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {gateway.given_memory(tags=["tea"]) for _ in range(3)}
    gateway.given_memory(tags=["coffee"])

    for few in (1000, 2):
        monkeypatch.setattr("soma_api.queries.memory_queries._FEW_TAGGED", few)
        assert set(await listed(gateway, tags=["tea"])) == wanted


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("importance", [0, 2, 1]),
        ("-importance", [1, 2, 0]),
        ("occurred_at", [1, 0, 2]),
        ("-occurred_at", [2, 0, 1]),
        ("created_at", [2, 1, 0]),
        ("-created_at", [0, 1, 2]),
        ("updated_at", [0, 1, 2]),
        ("-updated_at", [2, 1, 0]),
        (None, [2, 1, 0]),
    ],
)
async def test_a_list_is_sorted_as_asked_newest_change_first_by_default(
    gateway: Gateway, sort: str | None, order: list[int]
) -> None:
    hours = [timedelta(hours=number) for number in range(3)]
    made = [
        gateway.given_memory(
            importance=importance,
            occurred_at=A_MOMENT + hours[occurred],
            created_at=A_MOMENT + hours[created],
            updated_at=A_MOMENT + timedelta(days=1) + hours[updated],
        )
        for importance, occurred, created, updated in ((0.1, 1, 2, 0), (0.9, 0, 1, 1), (0.5, 2, 0, 2))
    ]

    asked = {} if sort is None else {"sort": sort}
    assert await listed(gateway, **asked) == [made[number] for number in order]


@pytest.mark.parametrize("sort", ["updated_at", "-updated_at", "importance", "-importance"])
@pytest.mark.parametrize("limit", [1, 3, 7, 8])
async def test_pages_visit_every_memory_once_also_among_equals(
    gateway: Gateway, sort: str, limit: int
) -> None:
    for number in range(7):
        gateway.given_memory(importance=number % 2 / 2, updated_at=A_MOMENT + timedelta(hours=number % 3))

    found = await pages(gateway, limit, sort=sort)

    assert len(found) == len(set(found)) == 7
    assert found == await listed(gateway, sort=sort)


async def test_a_list_by_distance_begins_with_what_lies_nearest(gateway: Gateway) -> None:
    places: dict[UUID, list[float]] = {
        UUID(int=number): coordinate
        for number, coordinate in enumerate(
            ([3.0, 4.0], [0.0, 0.0], [1.0, 2.0], [0.0, 2.0], [2.0, 4.0], [-7.5, 1e9], [0.0, 2.0 + 1e-12]), 1
        )
    }
    for memory, coordinate in places.items():
        gateway.given_memory(memory_id=memory, coordinate=coordinate)
    for other in ([1.0], [1.0, 2.0, 0.0], None):
        gateway.given_memory(coordinate=other)

    found = await listed(gateway, sort="distance", near="1,2")

    assert found == sorted(places, key=lambda memory: (dist(places[memory], [1.0, 2.0]), memory))


async def test_pages_by_distance_visit_every_memory_once_also_equally_far_ones(gateway: Gateway) -> None:
    memories = [
        gateway.given_memory(coordinate=[x / 3, y / 3], tags=["even"] if x % 2 == 0 else [])
        for x in range(-3, 4)
        for y in range(-3, 4)
    ]

    found = await pages(gateway, 5, sort="distance", near="0,0")
    even = await pages(gateway, 5, sort="distance", near="0,0", tags="even")

    assert sorted(found) == sorted(memories)
    assert even == [memory for memory in found if memory in set(even)]
    assert len(even) == 3 * 7


async def test_distances_of_the_largest_and_the_smallest_numbers_are_compared(gateway: Gateway) -> None:
    far, *others = (
        gateway.given_memory(memory_id=UUID(int=number), coordinate=coordinate)
        for number, coordinate in enumerate(([1.7e308, -1.7e308], [1e-200, 5e-324], [0.0, 0.0]))
    )

    for near in ("0,0", "-1.7e308,1.7e308"):
        assert await pages(gateway, 1, sort="distance", near=near) == [*others, far]


async def test_a_list_by_distance_among_too_many_is_refused_and_a_box_narrows_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (nearness, memory_queries):
        monkeypatch.setattr(module, "MOST_COMPARED", 3)
    memories = [gateway.given_memory(namespace="map", coordinate=[float(x)]) for x in range(4)]
    gateway.given_memory(namespace="map")

    whole = await gateway.client.get("/v1/memories", params={"sort": "distance", "near": "0"})
    within = await listed(
        gateway, sort="distance", near="3", namespace="map", coordinate_min="1", coordinate_max="9"
    )

    assert (whole.status_code, body_of(whole)["code"]) == (422, "list_too_costly")
    assert within == memories[:0:-1]


async def test_a_memory_that_is_stored_meanwhile_does_not_disturb_the_pages(gateway: Gateway) -> None:
    made = [gateway.given_memory(created_at=A_MOMENT + timedelta(hours=number)) for number in range(4)]
    first = body_of(await gateway.client.get("/v1/memories", params={"sort": "created_at", "limit": 2}))
    gateway.given_memory(created_at=A_MOMENT - timedelta(hours=1))

    second = await listed(gateway, sort="created_at", limit=2, cursor=first["next_cursor"])

    assert second == made[2:]


async def test_the_last_page_has_no_cursor(gateway: Gateway) -> None:
    for _ in range(2):
        gateway.given_memory()

    answer = body_of(await gateway.client.get("/v1/memories", params={"limit": 2}))

    assert answer["next_cursor"] is None


class TestRefusals:
    async def refusal(self, gateway: Gateway, **asked: Any) -> tuple[int, str, list[tuple[str, str]]]:
        answer = await gateway.client.get("/v1/memories", params=asked)
        problem = body_of(answer)
        assert answer.headers["content-type"] == "application/problem+json"
        errors = [(each["path"], each["code"]) for each in problem.get("errors", [])]
        return answer.status_code, problem["code"], errors

    async def test_a_tampered_cursor(self, gateway: Gateway) -> None:
        for _ in range(2):
            gateway.given_memory()
        page = body_of(await gateway.client.get("/v1/memories", params={"limit": 1}))
        cursor = page["next_cursor"]
        tampered = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]

        assert await self.refusal(gateway, limit=1, cursor=tampered) == (400, "invalid_cursor", [])
        assert await self.refusal(gateway, limit=1, cursor="nonsense") == (400, "invalid_cursor", [])

    async def test_a_cursor_of_another_query(self, gateway: Gateway) -> None:
        for _ in range(2):
            gateway.given_memory()
        page = body_of(await gateway.client.get("/v1/memories", params={"limit": 1}))

        assert (await self.refusal(gateway, sort="importance", cursor=page["next_cursor"]))[
            1
        ] == "invalid_cursor"

    async def test_a_cursor_of_another_tenant(self, gateway: Gateway) -> None:
        for _ in range(2):
            gateway.given_memory()
        page = body_of(await gateway.client.get("/v1/memories", params={"limit": 1}))
        gateway.use(gateway.a_key(tenant="globex"))

        assert (await self.refusal(gateway, limit=1, cursor=page["next_cursor"]))[1] == "invalid_cursor"

    @pytest.mark.parametrize(
        ("asked", "error"),
        [
            ({"colour": "green"}, ("/colour", "unknown_field")),
            ({"sort": "distance"}, ("", "missing_field")),
            ({"near": "1"}, ("", "missing_field")),
            ({"sort": "distance", "near": "1,inf"}, ("/near", "invalid_value")),
            ({"limit": 0}, ("/limit", "out_of_range")),
            ({"limit": 1001}, ("/limit", "out_of_range")),
            ({"limit": "many"}, ("/limit", "wrong_type")),
            ({"tags": ["tea"] * 65}, ("/tags", "too_many")),
            ({"cursor": "a" * 1025}, ("/cursor", "too_long")),
            ({"sort": "colour"}, ("/sort", "invalid_value")),
            ({"kind": "PROCEDURAL"}, ("/kind", "invalid_value")),
            ({"namespace": "team//a"}, ("/namespace", "invalid_namespace")),
            ({"namespace_prefix": "team/"}, ("/namespace_prefix", "invalid_namespace")),
            ({"namespace": "team", "namespace_prefix": "team"}, ("", "invalid_value")),
            ({"key": "tea"}, ("", "missing_field")),
            ({"key": "tea", "coordinate": "1", "namespace": "team"}, ("", "key_and_coordinate")),
            ({"coordinate_min": "1"}, ("", "missing_field")),
            ({"coordinate_min": "1,2", "coordinate_max": "3"}, ("/coordinate_max", "invalid_value")),
            ({"coordinate_min": "1;2", "coordinate_max": "3"}, ("/coordinate_min", "invalid_value")),
            ({"coordinate": "nan", "namespace": "team"}, ("/coordinate", "invalid_value")),
            ({"importance_min": "NaN"}, ("/importance_min", "not_finite")),
            ({"importance_min": "nan"}, ("/importance_min", "wrong_type")),
            ({"occurred_from": "yesterday"}, ("/occurred_from", "invalid_time")),
            ({"updated_from": "0.5"}, ("/updated_from", "invalid_time")),
            ({"occurred_from": "2026-03-02T09:00:00"}, ("/occurred_from", "invalid_time")),
            ({"payload": "{"}, ("/payload", "not_json")),
            ({"payload": "[]"}, ("/payload", "wrong_type")),
            ({"payload": '{"a": {}}'}, ("/payload", "wrong_type")),
            ({"payload": '{"a": [1]}'}, ("/payload", "wrong_type")),
            ({"subject": "a\0b"}, ("/subject", "invalid_character")),
        ],
    )
    async def test_a_filter_that_cannot_be_asked(
        self, gateway: Gateway, asked: dict[str, Any], error: tuple[str, str]
    ) -> None:
        status, code, errors = await self.refusal(gateway, **asked)

        assert (status, code) == (422, "invalid_input")
        assert error in errors

    async def test_a_namespace_that_the_key_does_not_cover(self, gateway: Gateway) -> None:
        gateway.use(gateway.a_key(namespaces=["team/a"]))

        assert (await self.refusal(gateway, namespace="team/ab"))[1] == "namespace_forbidden"
        assert (await self.refusal(gateway, namespace_prefix="board"))[1] == "namespace_forbidden"


# Before and after the slash among the characters: a prefix that compares text and not segments takes one in.
SIBLINGS = ("team/ab", "team/a-b", "team/a.b", "team/a b", "team/a0", "team/a%2Fb", "team/A", "team", "tea")


async def test_a_prefix_takes_in_no_sibling_whatever_its_next_character(gateway: Gateway) -> None:
    inside = {gateway.given_memory(namespace=namespace) for namespace in ("team/a", "team/a/b", "team/a/-")}
    for namespace in SIBLINGS:
        gateway.given_memory(namespace=namespace)

    assert set(await listed(gateway, namespace_prefix="team/a")) == inside


@pytest.mark.parametrize("own", [["team/a"], ["team/a", "board"]])
@pytest.mark.parametrize("asked", [{}, {"namespace_prefix": "team"}])
async def test_a_key_for_some_namespaces_lists_only_those(
    gateway: Gateway, own: list[str], asked: dict[str, str]
) -> None:
    inside = {gateway.given_memory(namespace=namespace) for namespace in ("team/a", "team/a/b")}
    for namespace in SIBLINGS:
        gateway.given_memory(namespace=namespace)
    gateway.use(gateway.a_key(namespaces=own))

    assert set(await listed(gateway, **asked)) == inside
