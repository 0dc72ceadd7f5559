"""The graph over HTTP: neighbours, paths and lists of links, as far as a key sees, and no farther."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from api_gateway import Gateway, body_of
from builders import A_TENANT, an_id

Ends = tuple[UUID, UUID]


@pytest.fixture
def link(gateway: Gateway) -> Any:
    """Have memories linked."""

    def make(
        start: UUID, end: UUID, *, of: str = "about", weight: float = 1.0, tenant: str = A_TENANT
    ) -> None:
        with psycopg.connect(gateway.worker_dsn) as connection:
            connection.execute(
                "INSERT INTO memory_links VALUES (%s, %s, %s, %s, %s, 1, false, '{}')",
                [tenant, start, of, end, weight],
            )

    return make


async def near(gateway: Gateway, memory: UUID, **asked: Any) -> list[tuple[str, int]]:
    answer = await gateway.client.get(f"/v1/memories/{memory}/neighbors", params=asked)
    assert answer.status_code == 200, answer.text
    return [(each["memory"]["memory_id"], each["depth"]) for each in body_of(answer)["neighbors"]]


async def path(gateway: Gateway, start: UUID, end: UUID, **asked: Any) -> tuple[int, Any]:
    answer = await gateway.client.get("/v1/paths", params={"from": str(start), "to": str(end), **asked})
    return answer.status_code, body_of(answer)


async def every_link(gateway: Gateway, **asked: Any) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await gateway.client.get("/v1/links", params={"limit": 2, **asked, **cursor})
        assert answer.status_code == 200, answer.text
        page = body_of(answer)
        found += [(each["from_memory_id"], each["type"], each["to_memory_id"]) for each in page["links"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_neighbours_come_with_the_way_that_leads_to_them(gateway: Gateway, link: Any) -> None:
    here, there, beyond = (gateway.given_memory() for _ in range(3))
    link(here, there, weight=0.5)
    link(beyond, there, of="quotes", weight=2.0)

    answer = await gateway.client.get(f"/v1/memories/{here}/neighbors", params={"depth": 2})

    first, second = body_of(answer)["neighbors"]
    assert first["memory"]["memory_id"] == str(there)
    assert second["memory"]["memory_id"] == str(beyond)
    assert [(each["type"], each["weight"], each["from_memory_id"]) for each in second["way"]] == [
        ("about", 0.5, str(here)),
        ("quotes", 2.0, str(beyond)),
    ]
    assert answer.headers["soma-staleness"]


async def test_types_directions_and_weights_bound_a_walk(gateway: Gateway, link: Any) -> None:
    here, light, heavy, behind = (gateway.given_memory() for _ in range(4))
    link(here, light, weight=0.1)
    link(here, heavy, of="quotes", weight=0.9)
    link(behind, here, weight=0.5)

    ends = {"light": (str(light), 1), "heavy": (str(heavy), 1), "behind": (str(behind), 1)}
    assert await near(gateway, here) == [ends["heavy"], ends["behind"], ends["light"]]
    assert await near(gateway, here, direction="out") == [ends["heavy"], ends["light"]]
    assert await near(gateway, here, direction="in") == [ends["behind"]]
    assert await near(gateway, here, type="quotes") == [ends["heavy"]]
    assert await near(gateway, here, type=["quotes", "about"], limit=1) == [ends["heavy"]]
    assert await near(gateway, here, min_weight="0.5") == [ends["heavy"], ends["behind"]]

    answer = await gateway.client.get(
        f"/v1/memories/{here}/links", params={"direction": "in", "type": "about"}
    )
    assert [each["from_memory_id"] for each in body_of(answer)["links"]] == [str(behind)]


async def links_of(gateway: Gateway, memory: UUID, limit: int, **asked: Any) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await gateway.client.get(
            f"/v1/memories/{memory}/links", params={"limit": limit, **asked, **cursor}
        )
        assert answer.status_code == 200, answer.text
        page = body_of(answer)
        assert len(page["links"]) <= limit
        found += [(each["from_memory_id"], each["type"], each["to_memory_id"]) for each in page["links"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_visit_every_link_of_a_memory_once_and_none_that_has_ended(
    gateway: Gateway, link: Any, limit: int
) -> None:
    here, *others = (gateway.given_memory(memory_id=UUID(int=number)) for number in range(5, 0, -1))
    ended = gateway.given_memory(expires_at=gateway.clock.now())
    for start, end, of in (
        *((here, other, of) for other in others for of in ("about", "quotes")),
        *((other, here, "about") for other in others[1:]),
        (here, here, "about"),
        (here, ended, "about"),
        (ended, here, "quotes"),
        (others[0], others[1], "about"),
    ):
        link(start, end, of=of)

    whole = await links_of(gateway, here, limit)
    outgoing = sorted((str(here), of, str(each)) for each in others for of in ("about", "quotes"))
    incoming = [(str(each), "about", str(here)) for each in sorted(others[1:])]

    outgoing = sorted([*outgoing, (str(here), "about", str(here))], key=lambda each: each[1:])
    assert whole == outgoing + incoming
    assert await links_of(gateway, here, limit, direction="out") == outgoing
    assert await links_of(gateway, here, limit, direction="in", type=["x", "about"]) == sorted(
        [*incoming, (str(here), "about", str(here))]
    )
    assert await links_of(gateway, here, limit, type=["quotes", "quotes"]) == [
        each for each in outgoing if each[1] == "quotes"
    ]


async def test_a_cursor_of_links_belongs_to_its_memory_and_its_question(gateway: Gateway, link: Any) -> None:
    here, there = gateway.given_memory(), gateway.given_memory()
    link(here, there)
    path = f"/v1/memories/{here}/links"
    cursor = body_of(await gateway.client.get(path, params={"limit": 1}))["next_cursor"]
    assert cursor is not None

    for elsewhere, asked in ((f"/v1/memories/{there}/links", {}), (path, {"direction": "in"})):
        answer = await gateway.client.get(elsewhere, params={"limit": 1, "cursor": cursor, **asked})
        assert (answer.status_code, body_of(answer)["code"]) == (400, "invalid_cursor")


async def test_no_walk_passes_what_has_ended_or_what_the_key_does_not_cover(
    gateway: Gateway, link: Any
) -> None:
    here, there = (gateway.given_memory(namespace="team") for _ in range(2))
    hidden = gateway.given_memory(namespace="board")
    ended = gateway.given_memory(namespace="team", expires_at=gateway.clock.now())
    deleted = an_id()
    for middle in (hidden, ended, deleted):
        link(here, middle)
        link(middle, there)

    assert await near(gateway, here, depth=5) == [(str(hidden), 1), (str(there), 2)]
    assert (await path(gateway, here, there))[0] == 200
    gateway.use(gateway.a_key(namespaces=["team"]))
    assert await near(gateway, here, depth=5) == []
    status, answer = await path(gateway, here, there)
    assert (status, answer["code"]) == (404, "path_not_found")
    for gone in (hidden, ended, deleted):
        status, answer = await path(gateway, here, gone)
        assert (status, answer["code"]) == (404, "memory_not_found")
        refused = await gateway.client.get(f"/v1/memories/{gone}/neighbors")
        assert (refused.status_code, body_of(refused)["code"]) == (404, "memory_not_found")
    assert await every_link(gateway) == []


async def test_a_tenant_has_its_own_graph(gateway: Gateway, link: Any) -> None:
    here, there = gateway.given_memory(), gateway.given_memory()
    theirs = [gateway.given_memory(tenant="globex", memory_id=each) for each in (here, there)]
    link(*theirs, tenant="globex")

    assert await near(gateway, here) == []
    assert await every_link(gateway) == []
    assert (await path(gateway, here, there))[0] == 404


async def test_a_path_is_the_shortest_by_the_cost_that_was_asked_for(gateway: Gateway, link: Any) -> None:
    here, middle, there = (gateway.given_memory() for _ in range(3))
    link(here, there, weight=3.0)
    link(here, middle, weight=1.0)
    link(middle, there, of="quotes", weight=1.0)

    status, answer = await path(gateway, here, there)
    assert (status, answer["cost"]) == (200, 2.0)
    assert [each["memory_id"] for each in answer["memories"]] == [str(here), str(middle), str(there)]
    assert [each["type"] for each in answer["links"]] == ["about", "quotes"]
    assert (await path(gateway, here, there, cost="hops"))[1]["cost"] == 1.0
    assert (await path(gateway, here, there, cost="inverse_weight"))[1]["cost"] == pytest.approx(1 / 3)
    assert (await path(gateway, here, there, type="about"))[1]["cost"] == 3.0
    assert (await path(gateway, there, here))[1]["code"] == "path_not_found"
    assert (await path(gateway, there, here, direction="in"))[1]["cost"] == 2.0
    assert (await path(gateway, there, here, direction="both", min_weight="2"))[1]["cost"] == 3.0
    assert (await path(gateway, here, here))[1]["links"] == []


async def test_a_path_that_would_read_too_much_is_refused(gateway: Gateway) -> None:
    here, there = gateway.given_memory(), gateway.given_memory()
    with psycopg.connect(gateway.worker_dsn) as connection:
        connection.execute(
            "INSERT INTO memory_links SELECT %s, %s, 'type ' || n, %s, 1, 1, false, '{}' "
            "FROM generate_series(1, 10001) AS n",
            [A_TENANT, here, there],
        )

    status, answer = await path(gateway, here, there)

    assert (status, answer["code"]) == (422, "path_too_costly")


async def test_links_that_the_key_does_not_cover_count_as_read(gateway: Gateway, link: Any) -> None:
    here, there = gateway.given_memory(namespace="team"), gateway.given_memory(namespace="team")
    hidden = gateway.given_memory(namespace="board")
    with psycopg.connect(gateway.worker_dsn) as connection:
        connection.execute(
            "INSERT INTO memory_links SELECT %s, %s, 'a type ' || n, %s, 1, 1, false, '{}' "
            "FROM generate_series(1, 10001) AS n",
            [A_TENANT, here, hidden],
        )
    link(here, there, of="z")
    gateway.use(gateway.a_key(namespaces=["team"]))

    answer = body_of(await gateway.client.get(f"/v1/memories/{here}/neighbors"))
    status, refused = await path(gateway, here, there)

    assert (answer["neighbors"], answer["truncated"]) == ([], True)
    assert (status, refused["code"]) == (422, "path_too_costly")


async def test_all_links_are_listed_page_by_page(gateway: Gateway, link: Any) -> None:
    inside = [gateway.given_memory(namespace="team/a") for _ in range(3)]
    outside = gateway.given_memory(namespace="team/ab")
    for end in (*inside[1:], outside):
        link(inside[0], end)
    link(inside[1], inside[2], of="quotes")

    everything = await every_link(gateway)
    within = await every_link(gateway, namespace_prefix="team/a")

    assert sorted(everything) == sorted(
        [(str(inside[0]), "about", str(end)) for end in (*inside[1:], outside)]
        + [(str(inside[1]), "quotes", str(inside[2]))]
    )
    assert sorted(within) == sorted(each for each in everything if each[2] != str(outside))
    assert await every_link(gateway, type="quotes") == [(str(inside[1]), "quotes", str(inside[2]))]
    gateway.use(gateway.a_key(namespaces=["team/ab"]))
    assert await every_link(gateway) == []
    refused = await gateway.client.get("/v1/links", params={"namespace_prefix": "team/a"})
    assert (refused.status_code, body_of(refused)["code"]) == (403, "namespace_forbidden")


async def test_a_cursor_of_links_belongs_to_its_list(gateway: Gateway, link: Any) -> None:
    here, there = gateway.given_memory(), gateway.given_memory()
    link(here, there)
    page = body_of(await gateway.client.get("/v1/links", params={"limit": 1}))

    for asked in ({"type": "about"}, {"namespace_prefix": "team"}):
        answer = await gateway.client.get("/v1/links", params={"cursor": page["next_cursor"], **asked})
        assert (answer.status_code, body_of(answer)["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    ("route", "asked", "place", "code"),
    [
        ("neighbors", {"depth": "6"}, "/depth", "out_of_range"),
        ("neighbors", {"depth": "0"}, "/depth", "out_of_range"),
        ("neighbors", {"depth": "1.5"}, "/depth", "wrong_type"),
        ("neighbors", {"limit": "1001"}, "/limit", "out_of_range"),
        ("neighbors", {"min_weight": "-1"}, "/min_weight", "out_of_range"),
        ("neighbors", {"min_weight": "nan"}, "/min_weight", "wrong_type"),
        ("neighbors", {"direction": "up"}, "/direction", "invalid_value"),
        ("neighbors", {"type": ""}, "/type/0", "empty"),
        ("links", {"direction": "up"}, "/direction", "invalid_value"),
    ],
)
async def test_a_question_that_breaks_the_contract_is_refused(
    gateway: Gateway, route: str, asked: dict[str, str], place: str, code: str
) -> None:
    answer = await gateway.client.get(f"/v1/memories/{gateway.given_memory()}/{route}", params=asked)

    assert answer.status_code == 422
    assert [(each["path"], each["code"]) for each in body_of(answer)["errors"]] == [(place, code)]
