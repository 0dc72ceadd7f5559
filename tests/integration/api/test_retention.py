"""Retention policies over HTTP: who may set one, what is published, and what a plan says."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from api_gateway import Gateway, body_of
from builders import A_TENANT
from soma_api.roles import Role
from soma_schemas.events import RetentionPolicySet, RetentionRule, SizeCap
from soma_schemas.producer import Tombstone
from soma_schemas.topics import MEMORY_POLICIES

DAY = 86_400
POLICIES = "/v1/retention-policies"


def a_rule(ttl: int, **fields: Any) -> dict[str, Any]:
    return {"kind": None, "ttl_seconds": ttl, "notice_seconds": 0, "archive": False, "decay": None} | fields


def in_force(ttl: int) -> RetentionRule:
    return RetentionRule.model_validate(a_rule(ttl))


@pytest_asyncio.fixture(autouse=True)
async def operator(gateway: Gateway) -> None:
    """Every request is an operator's."""
    gateway.use(gateway.a_key(Role.OPERATOR))


async def test_a_policy_is_published_as_it_was_sent_for_the_tenant_of_the_key(gateway: Gateway) -> None:
    rules = [a_rule(30 * DAY, kind="EPISODIC", notice_seconds=DAY, archive=True), a_rule(7)]

    answer = await gateway.client.put(f"{POLICIES}?namespace=team/notes", json={"rules": rules})

    (record,) = gateway.publisher.sent[MEMORY_POLICIES.name]
    assert answer.status_code == 202
    assert (body_of(answer)["position"], body_of(answer)["in_force"]) == ("0:0", None)
    assert isinstance(record, RetentionPolicySet)
    assert (record.tenant, record.namespace) == (A_TENANT, "team/notes")
    assert [rule.model_dump() for rule in record.rules] == rules
    assert str(record.event_id) == body_of(answer)["event_id"]


async def test_what_a_rule_does_not_say_is_nothing(gateway: Gateway) -> None:
    await gateway.client.put(POLICIES, json={"rules": [{"ttl_seconds": 7}]})

    (record,) = gateway.publisher.sent[MEMORY_POLICIES.name]
    assert isinstance(record, RetentionPolicySet)
    assert record.namespace is None
    assert [rule.model_dump() for rule in record.rules] == [a_rule(7)]


async def test_lifting_a_policy_publishes_a_tombstone_under_its_key(gateway: Gateway) -> None:
    answer = await gateway.client.delete(f"{POLICIES}?namespace=team")
    await gateway.client.delete(POLICIES)

    assert answer.status_code == 202
    sent = gateway.publisher.sent[MEMORY_POLICIES.name]
    assert [record.log_key() for record in sent] == [b"acme/team", b"acme/"]
    assert all(isinstance(record, Tombstone) for record in sent)


@pytest.mark.parametrize("settled", [True, False])
async def test_who_waits_is_told_whether_it_is_in_force(gateway: Gateway, settled: bool) -> None:  # noqa: FBT001  # a parameter
    with psycopg.connect(gateway.worker_dsn) as connection:
        connection.execute(
            "INSERT INTO sink_watermarks (consumer_group, topic, partition, epoch, next_offset, updated_at)"
            " VALUES ('soma-policies', 'memory.policies', 0, 1, %s, now())",
            [1 if settled else 0],
        )

    answer = await gateway.client.put(POLICIES, json={"rules": [a_rule(7)]}, headers={"Prefer": "wait=2"})

    assert (answer.status_code, body_of(answer)["in_force"]) == ((200, True) if settled else (202, False))
    assert answer.headers["Preference-Applied"] == "wait=2"


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ([], ""),
        ([a_rule(0)], "/rules/0/ttl_seconds"),
        ([a_rule(7, kind="OTHER")], "/rules/0/kind"),
        ([a_rule(7, colour="red")], "/rules/0/colour"),
        ([a_rule(7), a_rule(9)], ""),
    ],
)
async def test_a_policy_that_makes_no_sense_is_not_published(
    gateway: Gateway, rules: list[dict[str, Any]], path: str
) -> None:
    answer = await gateway.client.put(POLICIES, json={"rules": rules})

    assert answer.status_code == 422
    assert body_of(answer)["errors"][0]["path"] == path
    assert gateway.publisher.sent == {}


async def test_setting_and_lifting_takes_an_operator_and_its_own_namespaces(gateway: Gateway) -> None:
    gateway.use(gateway.a_key(Role.WRITER))
    writer = await gateway.client.put(POLICIES, json={"rules": [a_rule(7)]})
    gateway.use(gateway.a_key(Role.OPERATOR, namespaces=["team/a"]))
    statuses = {
        place: (await gateway.client.put(f"{POLICIES}{place}", json={"rules": [a_rule(7)]})).status_code
        for place in ("", "?namespace=team", "?namespace=team/a", "?namespace=team/a/notes")
    }

    assert body_of(writer)["code"] == "role_too_low"
    assert list(statuses.values()) == [403, 403, 202, 202]


async def test_the_policies_in_force_are_listed_that_reach_what_the_key_covers(gateway: Gateway) -> None:
    for place in (None, "team", "team/a", "team/a/notes", "other"):
        gateway.given_policy(in_force(7), namespace=place)
    gateway.given_policy(in_force(9), tenant="other")

    every = body_of(await gateway.client.get(POLICIES))["policies"]
    gateway.use(gateway.a_key(Role.OPERATOR, namespaces=["team/a"]))
    own = body_of(await gateway.client.get(POLICIES))["policies"]

    assert [each["namespace"] for each in every] == [None, "other", "team", "team/a", "team/a/notes"]
    assert [each["namespace"] for each in own] == [None, "team", "team/a", "team/a/notes"]
    assert (every[0]["rules"], every[0]["actor"]) == ([a_rule(7)], "tester")


async def test_a_memory_says_when_it_ends_wherever_it_is_shown(gateway: Gateway) -> None:
    now = gateway.clock.now()
    day, week = now + timedelta(days=1), now + timedelta(days=7)
    gateway.given_policy(in_force(7 * DAY), namespace="team")
    own = gateway.given_memory(namespace="team", updated_at=now, expires_at=day)
    ruled = gateway.given_memory(namespace="team", updated_at=now)
    kept = gateway.given_memory(namespace="other", updated_at=now)
    with psycopg.connect(gateway.worker_dsn) as connection:
        connection.execute(
            "INSERT INTO memory_links VALUES ('acme', %s, 'about', %s, 1, 1, false, '{}')", [own, ruled]
        )

    ends = {str(own): day.isoformat(), str(ruled): week.isoformat(), str(kept): None}
    read = [body_of(await gateway.client.get(f"/v1/memories/{each}")) for each in ends]
    listed = body_of(await gateway.client.get("/v1/memories"))["memories"]
    near = body_of(await gateway.client.get(f"/v1/memories/{own}/neighbors"))["neighbors"]
    path = body_of(await gateway.client.get("/v1/paths", params={"from": str(own), "to": str(ruled)}))

    for shown in (read, listed, [each["memory"] for each in near], path["memories"]):
        assert shown
        told = {each["memory_id"]: each["ends_at"] for each in shown}
        assert told == {each: (ends[each] or "").replace("+00:00", "Z") or None for each in told}


async def test_a_plan_says_how_many_end_when_and_which_go_first(gateway: Gateway) -> None:
    now = gateway.clock.now()

    def aged(days: float, **fields: Any) -> str:
        return str(gateway.given_memory(updated_at=now - timedelta(days=days), **fields))

    oldest = aged(12, namespace="team/a", key="first", text="x" * 500)
    aged(10, namespace="team/a")
    aged(9.5, namespace="team")
    aged(4, namespace="team")
    aged(0, namespace="team")
    # None of these is for the policy of `team` to end.
    aged(50, namespace="other")
    aged(50, namespace="team", expires_at=now + timedelta(days=1))
    aged(50, namespace="team/b")
    aged(50, namespace="team", tenant="other")
    gateway.given_policy(in_force(99 * DAY), namespace="team/b")

    plan = body_of(
        await gateway.client.post(f"{POLICIES}:plan?namespace=team", json={"rules": [a_rule(10 * DAY)]})
    )

    within = ("due_now", "due_within_1_day", "due_within_7_days", "due_within_30_days")
    assert [plan[each] for each in within] == [2, 3, 4, 5]
    assert len(plan["samples"]) == 5
    first = plan["samples"][0]
    assert (first["memory_id"], first["key"], len(first["text"])) == (oldest, "first", 120)
    assert first["ends_at"].startswith("2026-03-02T12:00:00")
    assert gateway.publisher.sent == {}
    assert await readable(gateway) == 8


async def test_a_plan_says_that_nothing_ends_before_its_notice_period(gateway: Gateway) -> None:
    gateway.given_memory(namespace="team", updated_at=gateway.clock.now() - timedelta(days=99))

    plan = body_of(
        await gateway.client.post(f"{POLICIES}:plan", json={"rules": [a_rule(DAY, notice_seconds=2 * DAY)]})
    )

    within = ("due_now", "due_within_1_day", "due_within_7_days", "due_within_30_days")
    assert [plan[each] for each in within] == [0, 0, 1, 1]
    assert plan["samples"][0]["ends_at"].startswith("2026-03-04T12:00:00")


async def test_a_plan_of_a_decay_ends_what_matters_less_sooner(gateway: Gateway) -> None:
    now = gateway.clock.now()
    decay = {"half_life_seconds": DAY, "floor": 0.125}
    for importance in (0.1, 0.25, 0.5, 1.0):
        gateway.given_memory(namespace="team", importance=importance, updated_at=now - timedelta(hours=1))

    plan = body_of(await gateway.client.post(f"{POLICIES}:plan", json={"rules": [{"decay": decay}]}))

    within = ("due_now", "due_within_1_day", "due_within_7_days", "due_within_30_days")
    assert [plan[each] for each in within] == [1, 2, 4, 4]
    assert [each["ends_at"][:13] for each in plan["samples"]] == [
        "2026-03-02T12",
        "2026-03-03T11",
        "2026-03-04T11",
        "2026-03-05T11",
    ]


async def test_a_decay_keeps_as_long_as_it_keeps_what_matters_most_unless_less_is_said(
    gateway: Gateway,
) -> None:
    decay = {"half_life_seconds": DAY, "floor": 0.125}
    for rule in ({"decay": decay}, {"decay": decay, "ttl_seconds": DAY, "kind": "SEMANTIC"}):
        answer = await gateway.client.put(f"{POLICIES}?namespace=team", json={"rules": [rule]})
        assert answer.status_code == 202

    policies = gateway.publisher.sent[MEMORY_POLICIES.name]
    assert [each.rules[0].ttl_seconds for each in policies if isinstance(each, RetentionPolicySet)] == [
        3 * DAY,
        DAY,
    ]


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"kind": "EPISODIC"},
        {"decay": {"half_life_seconds": DAY}},
        {"decay": {"half_life_seconds": 0, "floor": 0.1}},
        {"decay": {"half_life_seconds": DAY, "floor": 0.001}},
        {"decay": {"half_life_seconds": DAY, "floor": 1.0}},
    ],
)
async def test_a_rule_that_says_no_time_is_not_published(gateway: Gateway, rule: dict[str, Any]) -> None:
    answer = await gateway.client.put(POLICIES, json={"rules": [rule]})

    assert answer.status_code == 422
    assert gateway.publisher.sent == {}


async def readable(gateway: Gateway) -> int:
    return len(body_of(await gateway.client.get("/v1/memories"))["memories"])


async def test_a_plan_of_one_kind_leaves_the_others_alone(gateway: Gateway) -> None:
    now = gateway.clock.now()
    for kind in ("EPISODIC", "SEMANTIC", "SEMANTIC"):
        gateway.given_memory(kind=kind, updated_at=now - timedelta(days=2))

    plan = body_of(
        await gateway.client.post(f"{POLICIES}:plan", json={"rules": [a_rule(DAY, kind="SEMANTIC")]})
    )

    assert plan["due_now"] == 2


async def test_a_plan_without_rules_is_of_lifting_the_policy(gateway: Gateway) -> None:
    gateway.given_policy(in_force(DAY))
    gateway.given_policy(in_force(99 * DAY), namespace="team")
    gateway.given_memory(namespace="team/a", updated_at=gateway.clock.now() - timedelta(days=2))
    gateway.given_memory(namespace="other", updated_at=gateway.clock.now() - timedelta(days=2))

    lifted = body_of(await gateway.client.post(f"{POLICIES}:plan?namespace=team", json={"rules": []}))
    none_left = body_of(await gateway.client.post(f"{POLICIES}:plan", json={"rules": []}))

    assert lifted["due_now"] == 1
    assert none_left["due_now"] == 0


A_CAP = {"max_memories": 2, "notice_seconds": 60, "archive": True}


async def test_a_cap_is_published_with_the_rules_or_alone(gateway: Gateway) -> None:
    for body in ({"rules": [a_rule(7)], "cap": A_CAP}, {"cap": {"max_memories": 2}}):
        assert (await gateway.client.put(f"{POLICIES}?namespace=team", json=body)).status_code == 202

    both, alone = gateway.publisher.sent[MEMORY_POLICIES.name]
    assert isinstance(both, RetentionPolicySet)
    assert isinstance(alone, RetentionPolicySet)
    assert both.cap is not None
    assert (len(both.rules), both.cap.model_dump()) == (1, A_CAP)
    assert alone.cap is not None
    assert alone.rules == []
    assert alone.cap.model_dump() == {"max_memories": 2, "notice_seconds": 0, "archive": False}


async def test_a_cap_in_force_is_listed(gateway: Gateway) -> None:
    gateway.given_policy(namespace="team", cap=SizeCap.model_validate(A_CAP))

    (policy,) = body_of(await gateway.client.get(POLICIES))["policies"]
    assert (policy["rules"], policy["cap"]) == ([], A_CAP)


async def test_a_plan_says_how_many_are_above_a_cap_and_which_go_first(gateway: Gateway) -> None:
    now = gateway.clock.now()

    def weighed(importance: float, days: int, **fields: Any) -> str:
        changed = now - timedelta(days=days)
        return str(gateway.given_memory(importance=importance, updated_at=changed, **fields))

    weighed(0.9, 9, namespace="team")
    second = weighed(0.2, 1, namespace="team", expires_at=now + timedelta(days=1))
    first = weighed(0.2, 2, namespace="team", text="x" * 500)
    for days in range(3):
        weighed(0.1, days, namespace="team/full")
        weighed(0.1, days, namespace="other")
    gateway.given_policy(namespace="team/full", cap=SizeCap.model_validate(A_CAP | {"max_memories": 99}))

    plan = body_of(
        await gateway.client.post(f"{POLICIES}:plan?namespace=team", json={"cap": {"max_memories": 1}})
    )

    assert (plan["above_cap"], plan["due_now"]) == (2, 0)
    assert [each["memory_id"] for each in plan["above_cap_samples"]] == [first, second]
    assert len(plan["above_cap_samples"][0]["text"]) == 120
    assert gateway.publisher.sent == {}


async def test_lifting_a_cap_is_planned_by_the_next_one_above(gateway: Gateway) -> None:
    gateway.given_policy(cap=SizeCap.model_validate(A_CAP))
    gateway.given_policy(namespace="team", cap=SizeCap.model_validate(A_CAP | {"max_memories": 99}))
    for _ in range(5):
        gateway.given_memory(namespace="team")

    plan = body_of(await gateway.client.post(f"{POLICIES}:plan?namespace=team", json={}))

    assert plan["above_cap"] == 3


async def test_a_cap_that_makes_no_sense_is_not_published(gateway: Gateway) -> None:
    answer = await gateway.client.put(POLICIES, json={"cap": {"max_memories": 0}})

    assert answer.status_code == 422
    assert body_of(answer)["errors"][0]["path"] == "/cap/max_memories"
    assert gateway.publisher.sent == {}
