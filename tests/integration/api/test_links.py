"""What links publish, and where they may point."""

from typing import Any

import psycopg
import pytest

from api_gateway import Gateway, body_of
from builders import A_TENANT, an_id
from soma_schemas.events import MemoryLinked, MemoryUnlinked
from soma_schemas.versions import Position


async def test_a_link_is_published_in_the_namespace_of_its_memory(gateway: Gateway) -> None:
    here, there = gateway.given_memory(namespace="team/b"), an_id()

    answer = await gateway.client.put(
        f"/v1/memories/{here}/links/{there}", json={"type": "about", "weight": 0.5}
    )

    (event,) = gateway.published
    assert isinstance(event, MemoryLinked)
    assert answer.status_code == 202
    assert (event.memory_id, event.to_memory_id, event.namespace) == (here, there, "team/b")
    assert (event.link_type, event.weight) == ("about", 0.5)


async def test_the_end_of_a_link_is_published(gateway: Gateway) -> None:
    here, there = gateway.given_memory(), an_id()
    gateway.settle(Position(0, 0))

    answer = await gateway.client.delete(
        f"/v1/memories/{here}/links/{there}", params={"type": "about"}, headers={"Prefer": "wait=5"}
    )

    (event,) = gateway.published
    assert isinstance(event, MemoryUnlinked)
    assert answer.status_code == 200
    assert (event.memory_id, event.to_memory_id, event.link_type) == (here, there, "about")


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({}, "/type", "missing_field"),
        ({"type": ""}, "/type", "empty"),
        ({"type": "about", "weight": -1}, "/weight", "out_of_range"),
        ({"type": "about", "colour": 1}, "/colour", "unknown_field"),
    ],
)
async def test_a_link_that_breaks_the_contract_is_refused(
    gateway: Gateway, body: dict[str, Any], path: str, code: str
) -> None:
    answer = await gateway.client.put(f"/v1/memories/{gateway.given_memory()}/links/{an_id()}", json=body)

    assert [(each["path"], each["code"]) for each in body_of(answer)["errors"]] == [(path, code)]
    assert gateway.published == []


async def test_the_end_of_a_link_names_its_type(gateway: Gateway) -> None:
    answer = await gateway.client.delete(f"/v1/memories/{gateway.given_memory()}/links/{an_id()}")

    (error,) = body_of(answer)["errors"]
    assert (error["source"], error["path"], error["code"]) == (
        "query",
        "/type",
        "missing_field",
    )
    assert gateway.published == []


async def test_a_link_neither_starts_nor_ends_outside_of_what_the_key_covers(gateway: Gateway) -> None:
    inside, outside = gateway.given_memory(namespace="team/a"), gateway.given_memory(namespace="board")
    gateway.use(gateway.a_key(namespaces=["team"]))

    for here, there, code in (
        (inside, outside, "memory_not_found"),
        (inside, an_id(), "memory_not_found"),
        (outside, inside, "namespace_unknown"),
        (an_id(), inside, "namespace_unknown"),
    ):
        answer = await gateway.client.put(f"/v1/memories/{here}/links/{there}", json={"type": "about"})
        assert (answer.status_code, body_of(answer)["code"]) == (404, code)
    assert gateway.published == []


async def test_a_link_of_another_tenant_in_the_body_is_refused(gateway: Gateway) -> None:
    answer = await gateway.client.put(
        f"/v1/memories/{gateway.given_memory()}/links/{an_id()}", json={"type": "about", "tenant": "globex"}
    )

    assert (answer.status_code, body_of(answer)["code"]) == (403, "tenant_mismatch")
    assert gateway.published == []


async def test_links_are_listed_from_a_memory_and_to_it_as_long_as_both_ends_are_there(
    gateway: Gateway,
) -> None:
    here, there, elsewhere = (gateway.given_memory(namespace="team") for _ in range(3))
    hidden = gateway.given_memory(namespace="board")
    ended = gateway.given_memory(namespace="team", expires_at=gateway.clock.now())
    with psycopg.connect(gateway.worker_dsn) as connection:
        for start, end in (
            (here, there),
            (elsewhere, here),
            (here, here),
            (here, hidden),
            (ended, here),
            (here, an_id()),
            (there, elsewhere),
        ):
            connection.execute(
                "INSERT INTO memory_links VALUES (%s, %s, 'about', %s, 0.5, 1, false, '{}')",
                [A_TENANT, start, end],
            )

    async def ends() -> set[tuple[str, str]]:
        answer = body_of(await gateway.client.get(f"/v1/memories/{here}/links"))
        assert answer["next_cursor"] is None
        assert {(each["type"], each["weight"]) for each in answer["links"]} == {("about", 0.5)}
        return {(each["from_memory_id"], each["to_memory_id"]) for each in answer["links"]}

    seen = {(str(here), str(there)), (str(elsewhere), str(here)), (str(here), str(here))}
    assert await ends() == seen | {(str(here), str(hidden))}
    gateway.use(gateway.a_key(namespaces=["team"]))
    assert await ends() == seen
    for gone in (hidden, ended, an_id()):
        answer = await gateway.client.get(f"/v1/memories/{gone}/links")
        assert (answer.status_code, body_of(answer)["code"]) == (404, "memory_not_found")
