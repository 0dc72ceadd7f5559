"""Nothing of another tenant or namespace comes out, not even that it is there.

Each route is asked in two worlds that differ in what others have, with their ids, namespaces, keys and words
forged into every parameter: every answer and everything that is published has to be the same in both. Whoever
owns what differs asks the same, as a control: there the answers differ, so that the walk would have seen it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from api_gateway import Gateway, open_gateway
from builders import A_MOMENT
from conftest import TABLES, Counting
from soma_api.application import api_document, route_permissions
from soma_api.roles import Role
from soma_api.watermark_waiter import SETTLED
from soma_schemas.events import RetentionRule
from soma_schemas.groups import SinkGroup
from soma_schemas.identity import memory_id_for_key
from soma_schemas.settings import PostgresSettings
from soma_schemas.versions import Position, pack_version

MINE, ALSO_MINE = UUID(int=0x7000_8000_0000_0000_0001), UUID(int=0x7000_8000_0000_0000_0002)
THEIRS, ALSO_THEIRS = UUID(int=0x7000_8000_0000_0000_00A1), UUID(int=0x7000_8000_0000_0000_00A2)
# Deleted, and past its time but still in the table.
THEIR_TOMBSTONE, THEIR_EXPIRED = UUID(int=0x7000_8000_0000_0000_00A3), UUID(int=0x7000_8000_0000_0000_00A4)
THEIR_LETTER, THEIR_ERASURE = UUID(int=0x7000_8000_0000_0000_00B1), UUID(int=0x7000_8000_0000_0000_00C1)
THEIR_NAMESPACE = "canary/space"
THEIR_POSITION = Position(1, 7)
THEIR_VERSION = pack_version(1, 7)
A_TIME = A_MOMENT + timedelta(seconds=30)

# What answers without a credential, about the process and no tenant.
OF_NOBODY = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}

# A forged value for each parameter, by its name; a new one has to be added here.
FORGED: dict[str, Sequence[Any]] = {
    "memory_id": [THEIRS, MINE, THEIR_TOMBSTONE, THEIR_EXPIRED],
    "to_memory_id": [ALSO_THEIRS, THEIRS, MINE, THEIR_TOMBSTONE, THEIR_EXPIRED],
    "position": [THEIR_POSITION],
    "dead_letter_id": [THEIR_LETTER],
    "request_id": [THEIR_ERASURE],
    "from": [THEIRS, MINE, THEIR_TOMBSTONE, THEIR_EXPIRED],
    "to": [ALSO_THEIRS, THEIRS, THEIR_TOMBSTONE, THEIR_EXPIRED],
    "namespace": [THEIR_NAMESPACE, "mine"],
    "namespace_prefix": ["canary"],
    "prefix": ["canary"],
    "suffix": ["space"],
    "depth": [3],
    "key": ["canary-key"],
    "subject": ["canary-person"],
    "source": ["canary:source"],
    "tags": ["canary-tag"],
    "payload": ['{"canary": true}'],
    "filter": [
        '{"text": {"contains": "canary"}}',
        '{"tags": {"contains": "canary-tag"}}',
        '{"not": {"tags": {"contains": "mine"}}}',
    ],
    "kind": ["SEMANTIC"],
    "coordinate": ["1,2"],
    "near": ["1,2"],
    "coordinate_min": ["0,0"],
    "coordinate_max": ["9,9"],
    "importance_min": ["0.8"],
    "importance_max": ["0.95"],
    "embeddings": ["true"],
    "sort": ["updated_at", "-updated_at"],
    "limit": ["1"],
    "type": ["canary-link"],
    "direction": ["both", "in"],
    "cost": ["inverse_weight"],
    "min_weight": ["0.1"],
    "at": [A_TIME.isoformat()],
    "since": ["beginning", "now", "canary"],
    "follow": ["false"],
    "Last-Event-ID": ["canary"],
    "version": [THEIR_VERSION],
    "status": ["open"],
    "consumer_group": ["canary-group"],
    "stage": ["write"],
    "code": ["canary_code"],
    "action": ["retention_policy.set"],
    "Soma-Position": [THEIR_POSITION],
    "Soma-Max-Staleness": ["9"],
    "If-Match": [f'"{THEIR_VERSION}"'],
    "If-None-Match": [f'"{THEIR_VERSION}"', "*"],
    "Prefer": ["wait=0"],
}
# Given with every request to a route, unless it is what is forged.
ALWAYS = {"/v1/changes": {"since": "beginning", "follow": "false"}}
# Given with a parameter that means nothing without.
BESIDE = {
    "key": {"namespace": THEIR_NAMESPACE},
    "coordinate": {"namespace": THEIR_NAMESPACE},
    "near": {"sort": "distance"},
}
TIMES = re.compile(r"(occurred|created|updated|failed)_(from|before)")

A_MEMORY = {"namespace": "mine", "text": "tea"}
A_RULE = {"kind": "SEMANTIC", "ttl_seconds": 86_400, "notice_seconds": 0, "archive": False}
# Bodies that name what others have, by route; a route that takes one has to be here.
BODIES: dict[tuple[str, str], Sequence[Any]] = {
    ("POST", "/v1/memories"): [
        A_MEMORY | {"key": "canary-key"},
        A_MEMORY | {"namespace": THEIR_NAMESPACE, "key": "canary-key"},
        A_MEMORY | {"tenant": "globex"},
        A_MEMORY | {"expected_version": THEIR_VERSION},
    ],
    ("POST", "/v1/memories:batch"): [
        {"memories": [A_MEMORY, A_MEMORY | {"namespace": THEIR_NAMESPACE}]},
        {"memories": [A_MEMORY | {"key": "canary-key", "expected_version": THEIR_VERSION}]},
        {"memories": [A_MEMORY | {"tenant": "globex"}]},
    ],
    ("PUT", "/v1/memories"): [{"text": "tea"}, {"text": "tea", "expected_version": THEIR_VERSION}],
    ("PUT", "/v1/memories/{memory_id}"): [A_MEMORY, A_MEMORY | {"namespace": THEIR_NAMESPACE}],
    ("PATCH", "/v1/memories/{memory_id}"): [{"text": "tea"}, {"tags": ["canary-tag"]}],
    ("PUT", "/v1/memories/{memory_id}/links/{to_memory_id}"): [
        {"type": "canary-link"},
        {"type": "canary-link", "namespace": "mine"},
        {"type": "canary-link", "namespace": THEIR_NAMESPACE},
    ],
    ("POST", "/v1/memories/{memory_id}:revert"): [{"version": THEIR_VERSION}],
    ("POST", "/v1/search"): [
        {"query": "canary"},
        {"query": "canary", "filter": {"namespace": THEIR_NAMESPACE}},
        {"query": "canary", "filter": {"subject": "canary-person"}},
        {"query": "canar", "mode": "keyword", "match": "substring"},
    ],
    ("POST", "/v1/search:batch"): [
        {"searches": [{"query": "canary"}, {"query": "canary", "filter": {"namespace": THEIR_NAMESPACE}}]}
    ],
    ("PUT", "/v1/retention-policies"): [{"rules": [A_RULE]}],
    ("POST", "/v1/retention-policies:plan"): [{"rules": [A_RULE]}],
    ("POST", "/v1/erasures"): [
        {"memory_id": str(THEIRS)},
        {"namespace": THEIR_NAMESPACE},
        {"subject": "canary-person"},
        {"tenant": "globex"},
    ],
}


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        route: Method and template.
    """

    route: tuple[str, str]
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    def __str__(self) -> str:
        return f"{self.route[0]} {self.path} {dict(self.query)} {dict(self.headers)} {json.dumps(self.body)}"


def forged(name: str) -> Sequence[str]:
    return [str(each) for each in ([A_TIME.isoformat()] if TIMES.fullmatch(name) else FORGED[name])]


def asks() -> Iterator[Ask]:
    """Yield requests to every route: each parameter with each of its forged values, each body."""
    document = api_document()["paths"]
    for permission in route_permissions():
        route = permission.method, permission.path
        if route in OF_NOBODY:
            continue
        operation = document[permission.path][permission.method.lower()]
        parameters = operation.get("parameters", [])
        given = {
            place: [each["name"] for each in parameters if each["in"] == place]
            for place in ("path", "query", "header")
        }
        wanted = {each["name"]: forged(each["name"])[0] for each in parameters if each.get("required")}
        for path in paths_of(permission.path, given["path"]):
            query = {name: wanted[name] for name in given["query"] if name in wanted}
            query |= ALWAYS.get(permission.path, {})
            bodies = BODIES[route] if "requestBody" in operation else [None]
            for body in bodies:
                yield Ask(route, path, query, body=body)
            for name in given["query"]:
                for value in () if name == "cursor" else forged(name):
                    beside = BESIDE.get(name, {})
                    yield Ask(route, path, query | beside | {name: value}, body=bodies[0])
            for name in given["header"]:
                for value in () if name == "Idempotency-Key" else forged(name):
                    yield Ask(route, path, query, {name: value}, bodies[0])


def paths_of(template: str, names: Sequence[str]) -> list[str]:
    paths = [template]
    for name in names:
        paths = [path.replace(f"{{{name}}}", value) for path in paths for value in forged(name)]
    return paths


ASKS = list(asks())

# When something was put on record, by the database's clock, and where a page of such things goes on.
_OF_THE_MOMENT = re.compile(r'\\"happened_at\\":\\"[^"]*\\",|,\\"next_cursor\\":\\"[^"]*\\"')


@dataclass(frozen=True)
class Who:
    """A principal."""

    tenant: str
    namespaces: tuple[str, ...] | None


def _rule(seconds: int) -> RetentionRule:
    return RetentionRule(kind=None, ttl_seconds=seconds, notice_seconds=0, archive=False)


def give_mine(gateway: Gateway) -> None:
    """Put into the database what whoever asks has."""
    for memory in (MINE, ALSO_MINE):
        gateway.given_memory(memory_id=memory, namespace="mine", tags=["mine"])
    link(gateway, "acme", MINE, ALSO_MINE)
    gateway.given_policy(_rule(86_400 * 999), namespace="mine")


def give_theirs(gateway: Gateway, tenant: str) -> None:
    """Put into the database what others have, of everything that a route can tell."""
    for memory in (THEIRS, ALSO_THEIRS):
        gateway.given_memory(
            tenant=tenant,
            memory_id=memory,
            namespace=THEIR_NAMESPACE,
            kind="SEMANTIC",
            text="a canary sings",
            payload='{"canary": true}',
            tags=["canary-tag"],
            subject="canary-person",
            source="canary:source",
            importance=0.9,
        )
        gateway.given_outcome(
            THEIR_POSITION if memory == THEIRS else Position(1, 8),
            tenant=tenant,
            memory_id=memory,
            namespace=THEIR_NAMESPACE,
            content=json.dumps(
                {
                    "namespace": THEIR_NAMESPACE,
                    "key": None,
                    "coordinate": None,
                    "kind": "SEMANTIC",
                    "text": "a canary sang",
                    "payload": {},
                    "tags": [],
                    "importance": 0.9,
                    "subject": None,
                    "source": None,
                    "expires_at": None,
                    "embedding_model": None,
                }
            ),
        )
    link(gateway, tenant, THEIRS, ALSO_THEIRS)
    link(gateway, tenant, MINE, THEIRS)
    link(gateway, tenant, ALSO_THEIRS, MINE)
    give_what_ended(gateway, tenant)
    gateway.given_policy(_rule(86_400), namespace=THEIR_NAMESPACE, tenant=tenant)
    with psycopg.connect(gateway.worker_dsn) as worker:
        worker.execute(
            "INSERT INTO dead_letters (id, tenant, memory_id, consumer_group, topic, partition, log_offset,"
            " epoch, dlq_partition, dlq_offset, code, message, stage, first_failed_at)"
            " VALUES (%s, %s, %s, 'canary-group', 'memory.events', 1, 9, 1, 0, 0, 'canary_code', 'a canary',"
            " 'write', %s)",
            [THEIR_LETTER, tenant, THEIRS, A_MOMENT],
        )
        worker.execute(
            "INSERT INTO erasures (tenant, request_id, scope, selector, actor, requested_at, accepted_at,"
            " before_versions, state)"
            " VALUES (%s, %s, 'SUBJECT', 'another-canary', 'canary', %s, %s, '{}', 'accepted')",
            [tenant, THEIR_ERASURE, A_MOMENT, A_MOMENT],
        )


def give_what_ended(gateway: Gateway, tenant: str) -> None:
    """Put into the database a tombstone and a memory past its time, each with a past and with links."""
    gateway.given_tombstone(THEIR_TOMBSTONE, tenant=tenant)
    gateway.given_outcome(
        Position(2, 8),
        tenant=tenant,
        memory_id=THEIR_TOMBSTONE,
        namespace=THEIR_NAMESPACE,
        event_type="MemoryDeleted",
    )
    gateway.given_memory(
        tenant=tenant,
        memory_id=THEIR_EXPIRED,
        namespace=THEIR_NAMESPACE,
        text="a canary is silent",
        tags=["canary-tag"],
        expires_at=A_MOMENT - timedelta(seconds=1),
    )
    gateway.given_outcome(Position(1, 10), tenant=tenant, memory_id=THEIR_EXPIRED, namespace=THEIR_NAMESPACE)
    link(gateway, tenant, THEIRS, THEIR_EXPIRED)
    link(gateway, tenant, THEIR_EXPIRED, MINE)


def link(gateway: Gateway, tenant: str, start: UUID, end: UUID) -> None:
    with psycopg.connect(gateway.worker_dsn) as worker:
        worker.execute(
            "INSERT INTO memory_links VALUES (%s, %s, 'canary-link', %s, 0.5, 1, false, '{}')",
            [tenant, start, end],
        )


class Worlds:
    """Makes worlds, and asks in them."""

    def __init__(self, postgres: PostgresSettings, worker_dsn: str, owner_dsn: str, tables: str) -> None:
        self._postgres = postgres
        self._worker_dsn = worker_dsn
        self._owner_dsn = owner_dsn
        self._tables = tables

    async def answers(self, who: Who, theirs: str | None) -> list[Any]:
        """Return what every request is answered and publishes, in a world where others have something or not.

        Args:
            who: Asks.
            theirs: The tenant in which others have something; None: nowhere.
        """
        with psycopg.connect(self._owner_dsn) as owner:
            owner.execute(f"TRUNCATE {self._tables} RESTART IDENTITY CASCADE".encode())
        async with open_gateway(
            self._postgres, worker_dsn=self._worker_dsn, owner_dsn=self._owner_dsn
        ) as gateway:
            give_mine(gateway)
            if theirs is not None:
                give_theirs(gateway, theirs)
            for group in SETTLED:
                for partition in gateway.ends.offsets:
                    gateway.waiter.advance(group, partition, 1000)
            with psycopg.connect(self._worker_dsn) as worker:
                for partition in gateway.ends.offsets:
                    worker.execute(
                        "INSERT INTO sink_watermarks VALUES (%s, 'memory.events', %s, 1, 1000, %s)",
                        [SinkGroup.POSTGRES, partition, A_MOMENT],
                    )
            key = gateway.a_key(Role.ADMIN, tenant=who.tenant, namespaces=who.namespaces)
            gateway.use(key)
            with psycopg.connect(self._owner_dsn) as owner:
                owner.execute("DELETE FROM audit_log WHERE action = 'api_key.create'")
            return [await self._answer(gateway, key.key_id, number) for number in range(len(ASKS))]

    async def _answer(self, gateway: Gateway, key_id: str, number: int) -> Any:
        ask = ASKS[number]
        gateway.publisher.events.clear()
        gateway.publisher.sent.clear()
        gateway.search.asked.clear()
        headers = {
            "X-Request-Id": f"walk-{number}",
            "Idempotency-Key": str(UUID(int=0x7000_8000_0000_0001_0000 + number)),
            **ask.headers,
        }
        answer = await gateway.client.request(
            ask.route[0], ask.path, params=ask.query, headers=headers, json=ask.body
        )
        assert answer.status_code != 500, ask
        said = (
            answer.status_code,
            sorted(answer.headers.items()),
            answer.text,
            [each.model_dump(mode="json") for each in gateway.publisher.events],
            {topic: [repr(each) for each in sent] for topic, sent in gateway.publisher.sent.items()},
            [(each.tenant, repr(each.filter)) for each in gateway.search.asked],
        )
        plain = _OF_THE_MOMENT.sub("", json.dumps(said, default=_plain).replace(key_id, "KEY"))
        return json.loads(plain)


def _plain(value: object) -> str:
    assert isinstance(value, datetime | UUID)
    return str(value)


@pytest.fixture
def worlds(api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str) -> Worlds:
    return Worlds(api_postgres, worker_dsn, owner_dsn, ", ".join(TABLES))


def unlike(before: Sequence[Any], after: Sequence[Any]) -> list[Ask]:
    """Return the requests that are not answered alike."""
    return [ask for ask, one, other in zip(ASKS, before, after, strict=True) if one != other]


BOUNDARIES = {
    "tenants": (Who("acme", None), "globex"),
    "tenants, and namespaces of the same name": (Who("acme", ("canary",)), "globex"),
    "namespaces": (Who("acme", ("mine",)), "acme"),
}
# An id that nobody can guess is refused where it is taken, and free where it is not: whoever has it knows it.
BY_AN_ID_THAT_IS_KNOWN = ("PUT", "/v1/memories/{memory_id}")
# What these say does not depend on what there is: they publish, or ask what the test itself answers.
BLIND = {
    ("POST", "/v1/memories"),
    ("POST", "/v1/memories:batch"),
    ("PUT", "/v1/memories"),
    ("POST", "/v1/search"),
    ("POST", "/v1/search:batch"),
    ("PUT", "/v1/retention-policies"),
    ("DELETE", "/v1/retention-policies"),
    ("POST", "/v1/erasures"),
    ("GET", "/v1/lag"),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_what_others_have_changes_no_answer(worlds: Worlds, boundary: str, counting: Counting) -> None:
    who, theirs = BOUNDARIES[boundary]

    without, with_theirs = await worlds.answers(who, None), await worlds.answers(who, theirs)

    seen = unlike(without, with_theirs)
    expected = [
        ask
        for ask, answer in zip(ASKS, with_theirs, strict=True)
        if ask.route == BY_AN_ID_THAT_IS_KNOWN
        and (str(THEIRS) in ask.path or str(THEIR_EXPIRED) in ask.path)
        and who.tenant == theirs
        and answer[0] == 403
    ]
    assert [ask for ask in seen if ask not in expected] == []
    counting("requests with others' ids and words, in a world with them and in one without", len(ASKS))
    counting("routes walked across a boundary of tenants or namespaces", len({ask.route for ask in ASKS}))


async def test_whoever_has_it_is_told_so_the_walk_would_have_seen_it(worlds: Worlds) -> None:
    owner = Who("globex", None)

    seen = unlike(await worlds.answers(owner, None), await worlds.answers(owner, "globex"))

    assert {ask.route for ask in ASKS} - {ask.route for ask in seen} == BLIND
    ids = (THEIRS, ALSO_THEIRS, THEIR_TOMBSTONE, THEIR_EXPIRED)
    assert [each for each in ids if not any(str(each) in ask.path for ask in seen)] == []


def test_every_route_is_walked() -> None:
    routes = {(each.method, each.path) for each in route_permissions()}

    assert {ask.route for ask in ASKS} == routes - OF_NOBODY


LISTS = ["/v1/memories", "/v1/links", "/v1/dead-letters", "/v1/erasures", "/v1/audit"]


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_of_another_tenant_leads_nowhere(gateway: Gateway, path: str) -> None:
    for number in range(2):
        gateway.given_memory(tenant="globex", memory_id=UUID(int=number + 1), namespace="canary")
        gateway.given_dead_letter(Position(0, number), "group", "code", tenant="globex")
    link(gateway, "globex", UUID(int=1), UUID(int=2))
    link(gateway, "globex", UUID(int=2), UUID(int=1))
    with psycopg.connect(gateway.worker_dsn) as worker:
        for number in range(2):
            worker.execute(
                "INSERT INTO erasures (tenant, request_id, scope, selector, actor, requested_at, accepted_at,"
                " before_versions, state) VALUES ('globex', %s, 'SUBJECT', 'b', 'a', %s, %s, '{}',"
                " 'accepted')",
                [UUID(int=number + 1), A_MOMENT, A_MOMENT],
            )
    gateway.use(gateway.a_key(Role.ADMIN, tenant="globex"))
    page = await gateway.client.get(path, params={"limit": 1})
    cursor = json.loads(page.content)["next_cursor"]
    assert cursor is not None, page.text
    gateway.use(gateway.a_key(Role.ADMIN))

    answer = await gateway.client.get(path, params={"limit": 1, "cursor": cursor})

    assert (answer.status_code, json.loads(answer.content)["code"]) == (400, "invalid_cursor")


def test_every_list_with_a_cursor_is_among_them() -> None:
    with_cursor = {
        path
        for path, operations in api_document()["paths"].items()
        for each in operations.get("get", {}).get("parameters", ())
        if each["name"] == "cursor"
    }

    # Another tenant cannot name the memory in the first place.
    of_a_memory = {f"/v1/memories/{{memory_id}}/{each}" for each in ("history", "links")}
    assert with_cursor - of_a_memory == set(LISTS)


async def test_an_id_that_is_made_of_a_key_tells_a_key_of_namespaces_nothing(gateway: Gateway) -> None:
    there, nowhere = (memory_id_for_key("acme", "theirs", key) for key in ("there", "nowhere"))
    gateway.given_memory(memory_id=there, namespace="theirs", key="there")
    gateway.use(gateway.a_key(Role.WRITER, namespaces=["mine"]))

    answers = [
        await gateway.client.put(
            f"/v1/memories/{memory}",
            json={"namespace": "mine", "text": "tea"},
            headers={"X-Request-Id": "the-same"},
        )
        for memory in (there, nowhere)
    ]

    assert [each.status_code for each in answers] == [422, 422]
    assert answers[0].content == answers[1].content
    assert gateway.published == []
