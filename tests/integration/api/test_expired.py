"""A memory whose time is over is not there, although nobody has removed it yet."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

import httpx
import psycopg
import pytest

from api_gateway import Gateway, body_of
from builders import A_MOMENT, A_TENANT, an_id
from soma_api.roles import Role
from soma_schemas.events import Decay, MemoryStored, RetentionRule
from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.namespaces import ancestors
from soma_schemas.retention import TenantPolicies
from soma_schemas.versions import pack_version


def a_rule(ttl: timedelta, kind: Kind | None = None, decay: Decay | None = None) -> RetentionRule:
    seconds = int(ttl.total_seconds())
    return RetentionRule(kind=kind, ttl_seconds=seconds, notice_seconds=0, archive=False, decay=decay)


def by_its_own_deadline(gateway: Gateway, **fields: object) -> UUID:
    return gateway.given_memory(expires_at=gateway.clock.now(), **fields)


def by_policy(gateway: Gateway, **fields: object) -> UUID:
    gateway.given_policy(a_rule(timedelta(hours=1)))
    return gateway.given_memory(updated_at=gateway.clock.now() - timedelta(hours=1), **fields)


Expired = Callable[..., UUID]


@pytest.fixture(params=[by_its_own_deadline, by_policy])
def expired(request: pytest.FixtureRequest) -> Expired:
    """Puts a memory into the database whose last moment is now."""
    given: Expired = request.param
    return given


def a_living_one(gateway: Gateway, **fields: object) -> UUID:
    return gateway.given_memory(expires_at=gateway.clock.now() + timedelta(microseconds=1), **fields)


async def listed(gateway: Gateway, query: str = "") -> list[str]:
    answer = await gateway.client.get(f"/v1/memories?{query}")
    return [memory["memory_id"] for memory in body_of(answer)["memories"]]


async def test_it_is_not_read_and_its_neighbour_in_time_is(gateway: Gateway, expired: Expired) -> None:
    gone, there = expired(gateway), a_living_one(gateway)

    statuses = [(await gateway.client.get(f"/v1/memories/{each}")).status_code for each in (gone, there)]

    assert statuses == [404, 200]


async def test_time_alone_ends_a_memory(gateway: Gateway) -> None:
    memory = a_living_one(gateway)

    before = await gateway.client.get(f"/v1/memories/{memory}")
    gateway.clock.advance(0.000001)
    after = await gateway.client.get(f"/v1/memories/{memory}")

    assert (before.status_code, after.status_code) == (200, 404)


async def test_a_page_without_it_is_as_full_as_any(gateway: Gateway, expired: Expired) -> None:
    kept = []
    for _ in range(5):
        expired(gateway)
        kept.append(str(a_living_one(gateway)))

    first = body_of(await gateway.client.get("/v1/memories?limit=3&sort=created_at"))
    second = await listed(gateway, f"limit=3&sort=created_at&cursor={first['next_cursor']}")

    assert [memory["memory_id"] for memory in first["memories"]] == kept[:3]
    assert second == kept[3:]


async def test_no_count_has_it(gateway: Gateway, expired: Expired) -> None:
    gone, there = expired(gateway, namespace="gone/a"), a_living_one(gateway, namespace="kept")
    with psycopg.connect(gateway.worker_dsn) as connection:
        for one, other in ((gone, there), (there, gone), (there, there)):
            connection.execute(
                "INSERT INTO memory_links VALUES (%s, %s, 'about', %s, 1, 1, false, '{}')",
                [A_TENANT, one, other],
            )

    stats = body_of(await gateway.client.get("/v1/stats"))
    namespaces = body_of(await gateway.client.get("/v1/namespaces"))["namespaces"]

    assert (stats["memories"], stats["namespaces"], stats["links"]) == (1, 1, 1)
    assert namespaces == [{"namespace": "kept", "memories": 1}]


async def test_another_tenants_deadlines_and_policies_change_nothing(gateway: Gateway) -> None:
    gateway.given_policy(a_rule(timedelta(seconds=1)), tenant="other")
    gateway.given_memory(tenant="other", expires_at=A_MOMENT)
    there = gateway.given_memory()

    assert await listed(gateway) == [str(there)]
    assert body_of(await gateway.client.get("/v1/stats"))["memories"] == 1


@pytest.mark.parametrize("said", ["", "?namespace=team/notes"])
@pytest.mark.parametrize(
    "change",
    [
        lambda client, memory, said: client.patch(
            f"/v1/memories/{memory}{said}",
            content=b'{"text": "late"}',
            headers={"Content-Type": "application/merge-patch+json"},
        ),
        lambda client, memory, said: client.delete(f"/v1/memories/{memory}{said}"),
        lambda client, memory, said: client.delete(
            f"/v1/memories/{memory}/links/{an_id()}{said or '?'}&type=about"
        ),
    ],
)
async def test_it_cannot_be_changed_whoever_says_where_it_lies(
    gateway: Gateway,
    expired: Expired,
    change: Callable[[httpx.AsyncClient, UUID, str], "httpx.Response"],
    said: str,
) -> None:
    answer = await change(gateway.client, expired(gateway), said)  # type: ignore[misc]  # of a lambda

    assert (answer.status_code, body_of(answer)["code"]) == (404, "memory_not_found")
    assert gateway.published == []


async def test_no_link_leads_from_or_to_it(gateway: Gateway, expired: Expired) -> None:
    gone, there = expired(gateway), a_living_one(gateway)
    link = {"type": "about"}

    leads_from = await gateway.client.put(f"/v1/memories/{gone}/links/{there}", json=link)
    leads_to = await gateway.client.put(f"/v1/memories/{there}/links/{gone}", json=link)

    assert [leads_from.status_code, leads_to.status_code] == [404, 404]
    assert gateway.published == []


async def test_it_has_no_version_that_a_write_could_expect(gateway: Gateway, expired: Expired) -> None:
    gone = expired(gateway, version=pack_version(1, 7))
    body = {"namespace": "team/notes", "text": "anew"}

    answer = await gateway.client.put(
        f"/v1/memories/{gone}", json=body, headers={"If-Match": f'"{pack_version(1, 7)}"'}
    )

    assert (answer.status_code, body_of(answer)["code"]) == (412, "precondition_failed")
    assert gateway.published == []


async def test_a_write_that_expects_no_memory_replaces_exactly_what_is_left_of_it(
    gateway: Gateway, expired: Expired
) -> None:
    gone, there = expired(gateway, version=pack_version(1, 7)), a_living_one(gateway)
    body = {"namespace": "team/notes", "text": "anew"}

    for memory in (gone, there):
        await gateway.client.put(f"/v1/memories/{memory}", json=body, headers={"If-None-Match": "*"})

    expected = [event.expected_version for event in gateway.published if isinstance(event, MemoryStored)]
    assert expected == [pack_version(1, 7), 0]


async def test_a_policy_that_is_set_or_lifted_counts_at_once(gateway: Gateway) -> None:
    memory = gateway.given_memory()

    async def status() -> int:
        return (await gateway.client.get(f"/v1/memories/{memory}")).status_code

    before = await status()
    gateway.given_policy(a_rule(timedelta(hours=1)))
    under = await status()
    gateway.given_policy(a_rule(timedelta(days=1)))
    longer = await status()

    assert (before, under, longer) == (200, 404, 200)


@pytest.mark.parametrize("seed", range(3))
async def test_reads_and_counts_agree_with_the_rules_whatever_the_policies(
    gateway: Gateway, seed: int
) -> None:
    random = Random(seed)
    now = gateway.clock.now()
    places = ["a", "a/b", "a/b/c", "ab", "b", "b/c"]
    gateway.use(gateway.a_key(Role.READER))
    policies = {
        place: [
            a_rule(
                timedelta(minutes=random.randint(1, 90)),
                kind,
                random.choice([None, Decay(half_life_seconds=random.randint(60, 3600), floor=0.2)]),
            )
            for kind in random.sample([None, *Kind], random.randint(1, 3))
        ]
        for place in [None, *places]
        if random.random() < 0.5
    }
    for place, rules in policies.items():
        gateway.given_policy(*rules, namespace=place)
    rules_of = TenantPolicies(policies)
    living: list[tuple[UUID, str]] = []
    for _ in range(120):
        namespace, kind = random.choice(places), random.choice(list(Kind))
        changed = now - timedelta(minutes=random.randint(0, 90))
        own = random.choice([None, None, now - timedelta(minutes=1), now, now + timedelta(minutes=1)])
        importance = random.random()
        memory = gateway.given_memory(
            namespace=namespace, kind=kind.value, updated_at=changed, expires_at=own, importance=importance
        )
        deadline = rules_of.deadline_of(_content(namespace, kind, changed, own, importance))
        if deadline is None or deadline.at > now:
            living.append((memory, namespace))

    found = await listed(gateway, "limit=500")
    stats = body_of(await gateway.client.get("/v1/stats"))
    tree = body_of(await gateway.client.get("/v1/namespaces"))["namespaces"]

    assert set(found) == {str(memory) for memory, _ in living}
    assert 0 < len(living) < 120
    assert stats["memories"] == len(living)
    assert {node["namespace"]: node["memories"] for node in tree} == {
        place: sum(place in ancestors(namespace) for _, namespace in living)
        for _, lies_in in living
        for place in ancestors(lies_in)
    }


def _content(
    namespace: str, kind: Kind, changed: datetime, own: datetime | None, importance: float
) -> Content:
    return Content(
        namespace=namespace,
        key=None,
        coordinate=None,
        kind=kind,
        text="",
        payload="{}",
        tags=(),
        importance=importance,
        embedding=None,
        embedding_model=None,
        subject=None,
        source=None,
        expires_at=own,
        occurred_at=changed,
        actor="",
        created_at=changed,
        updated_at=changed,
    )
