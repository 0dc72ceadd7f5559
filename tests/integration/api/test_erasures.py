"""Erasures over HTTP: an admin's, of their own tenant, and reads stop with the answer."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from api_gateway import Gateway
from builders import A_MOMENT, an_id
from requested_erasures import accept, ask, requested
from soma_api.roles import Role
from soma_schemas.events import ErasureRequested, ErasureScope


@pytest.fixture
def admin(gateway: Gateway) -> dict[str, str]:
    """The headers of an admin."""
    return as_admin(gateway)


def as_admin(gateway: Gateway, **key: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.a_key(Role.ADMIN, **key).reveal()}"}


@pytest.mark.parametrize(
    ("body", "scope", "selector"),
    [
        ({"subject": "mira"}, ErasureScope.SUBJECT, "mira"),
        ({"memory_id": str(UUID(int=7))}, ErasureScope.MEMORY, str(UUID(int=7))),
        ({"namespace": "team/a"}, ErasureScope.NAMESPACE, "team/a"),
        ({"tenant": "acme"}, ErasureScope.TENANT, None),
    ],
)
async def test_a_request_is_answered_once_it_is_accepted(
    gateway: Gateway, admin: dict[str, str], body: dict[str, Any], scope: ErasureScope, selector: str | None
) -> None:
    answer = await ask(gateway, body, admin)

    (event,) = requested(gateway)
    assert (event.tenant, event.scope, event.selector) == ("acme", scope, selector)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/erasures/{event.request_id}"
    assert answer.json()["state"] == "accepted"
    again = await gateway.client.get(answer.headers["Location"], headers=admin)
    assert again.json() == answer.json()


async def test_reads_have_stopped_with_the_answer(gateway: Gateway, admin: dict[str, str]) -> None:
    hidden, kept = gateway.given_memory(subject="mira"), gateway.given_memory(subject="zoe")

    await ask(gateway, {"subject": "mira"}, admin)

    assert (await gateway.client.get(f"/v1/memories/{hidden}")).status_code == 404
    listed = (await gateway.client.get("/v1/memories")).json()["memories"]
    assert [each["memory_id"] for each in listed] == [str(kept)]
    await gateway.client.post("/v1/search", json={"query": "tea"})
    assert [each[1:3] for each in gateway.search.asked[-1].erasures] == [(ErasureScope.SUBJECT, "mira")]


async def test_what_a_restored_database_knows_by_its_digest_alone_is_hidden_by_it(gateway: Gateway) -> None:
    hidden, kept = gateway.given_memory(subject="mira"), gateway.given_memory(subject="zoe")
    request = ErasureRequested.validated(
        {
            "event_id": an_id(),
            "tenant": "acme",
            "occurred_at": A_MOMENT,
            "actor": "officer",
            "request_id": an_id(),
            "scope": ErasureScope.SUBJECT,
            "selector": "mira",
        }
    )
    accept(gateway, request, selector=None, receipt="{}")

    listed = (await gateway.client.get("/v1/memories")).json()["memories"]
    await gateway.client.post("/v1/search", json={"query": "tea"})

    assert [each["memory_id"] for each in listed] == [str(kept)]
    (erasure,) = gateway.search.asked[-1].erasures
    assert (erasure.request_id, erasure.selector) == (request.request_id, None)
    assert erasure.selects(hidden, "team", "mira")
    assert not erasure.selects(kept, "team", "zoe")


async def test_another_tenant_is_not_concerned(gateway: Gateway, admin: dict[str, str]) -> None:
    await ask(gateway, {"tenant": "acme"}, admin)
    other = as_admin(gateway, tenant="globex")

    await gateway.client.post("/v1/search", json={"query": "tea"}, headers=other)

    assert gateway.search.asked[-1].erasures == ()
    assert (await gateway.client.get("/v1/erasures", headers=other)).json()["erasures"] == []


async def test_the_same_key_again_is_the_same_request(gateway: Gateway, admin: dict[str, str]) -> None:
    headers = admin | {"Idempotency-Key": str(an_id())}
    first = await ask(gateway, {"subject": "mira"}, headers)

    second = await gateway.client.post("/v1/erasures", json={"subject": "mira"}, headers=headers)
    other = await gateway.client.post("/v1/erasures", json={"subject": "zoe"}, headers=headers)

    assert second.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (409, "erasure_conflict")
    assert len(requested(gateway)) == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"subject": "a", "namespace": "b"}, {"subject": ""}, {"namespace": "a//b"}, {"person": "a"}],
)
async def test_what_names_nothing_or_two_things_is_refused(
    gateway: Gateway, admin: dict[str, str], body: dict[str, Any]
) -> None:
    answer = await gateway.client.post("/v1/erasures", json=body, headers=admin)

    assert (answer.status_code, requested(gateway)) == (422, [])


async def test_a_tenant_has_to_be_named_and_to_be_the_own(gateway: Gateway, admin: dict[str, str]) -> None:
    answer = await gateway.client.post("/v1/erasures", json={"tenant": "globex"}, headers=admin)

    assert (answer.json()["code"], requested(gateway)) == ("tenant_mismatch", [])


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        (
            lambda gateway: {"Authorization": f"Bearer {gateway.a_key(Role.OPERATOR).reveal()}"},
            "role_too_low",
        ),
        (lambda gateway: as_admin(gateway, namespaces=["team"]), "namespace_forbidden"),
    ],
)
async def test_it_takes_an_admin_of_every_namespace(
    gateway: Gateway, credentials: Callable[[Gateway], dict[str, str]], code: str
) -> None:
    headers = credentials(gateway)
    answers = [
        await gateway.client.post("/v1/erasures", json={"subject": "a"}, headers=headers),
        await gateway.client.get("/v1/erasures", headers=headers),
        await gateway.client.get(f"/v1/erasures/{an_id()}", headers=headers),
    ]

    assert [(each.status_code, each.json()["code"]) for each in answers] == [(403, code)] * 3


async def test_a_request_that_nobody_accepts_says_how_to_send_it_again(
    gateway: Gateway, admin: dict[str, str]
) -> None:
    answer = await gateway.client.post("/v1/erasures", json={"subject": "mira"}, headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (503, "not_yet_visible")
    assert str(requested(gateway)[0].request_id) in answer.json()["remedy"]


async def test_erasures_are_listed_newest_first_and_page_by_page(
    gateway: Gateway, admin: dict[str, str]
) -> None:
    ids = []
    for number in range(3):
        gateway.clock.advance(1)
        ids.append((await ask(gateway, {"subject": f"s{number}"}, admin)).json()["request_id"])

    first = (await gateway.client.get("/v1/erasures", params={"limit": 2}, headers=admin)).json()
    rest = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await gateway.client.get("/v1/erasures", params=rest, headers=admin)).json()

    assert [each["request_id"] for each in (*first["erasures"], *second["erasures"])] == ids[::-1]
    assert second["next_cursor"] is None
