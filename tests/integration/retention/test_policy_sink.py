"""The table of the policies in force is what memory.policies said last."""

from typing import Any

import psycopg
import pytest

from builders import policy_set
from postgres_tables import rows
from soma_schemas.events import RetentionPolicySet
from soma_schemas.groups import SinkGroup
from soma_schemas.versions import pack_version
from soma_streams.delivery.compacted import Statement
from soma_streams.delivery.state import Watermark
from soma_streams.retention.policy_sink import PolicySink
from soma_streams.sinks.sessions import Pool

Said = tuple[str, RetentionPolicySet | None]


@pytest.fixture
def sink(pool: Pool) -> PolicySink:
    """The sink under test."""
    return PolicySink(pool, SinkGroup.POLICIES)


async def tell(sink: PolicySink, first_offset: int, *said: Said, tenant: str = "acme", epoch: int = 1) -> int:
    """Have the sink write what is said of namespaces from an offset on."""
    statements = [
        Statement(tenant, namespace, policy, pack_version(epoch, first_offset + number))
        for number, (namespace, policy) in enumerate(said)
    ]
    next_offset = first_offset + len(said)
    return await sink.write(
        statements, Watermark(SinkGroup.POLICIES, "memory.policies", 0, epoch, next_offset)
    )


def in_force(dsn: str) -> dict[tuple[str, str], Any]:
    found = rows(dsn, "SELECT * FROM retention_policies")
    return {
        (row["tenant"], row["namespace"]): [rule["ttl_seconds"] for rule in row["rules"]] for row in found
    }


async def test_a_policy_replaces_that_of_its_namespace_and_a_tombstone_lifts_it(
    sink: PolicySink, owner_dsn: str
) -> None:
    await tell(sink, 0, ("", policy_set(ttl_seconds=9)), ("team", policy_set("team", ttl_seconds=1)))
    await tell(sink, 2, ("team", policy_set("team", ttl_seconds=2)))
    await tell(sink, 3, ("", policy_set(ttl_seconds=3)), tenant="globex")
    assert in_force(owner_dsn) == {("acme", ""): [9], ("acme", "team"): [2], ("globex", ""): [3]}

    await tell(sink, 4, ("team", None), ("never/set", None))

    assert in_force(owner_dsn) == {("acme", ""): [9], ("globex", ""): [3]}
    (mark,) = rows(owner_dsn, "SELECT consumer_group, next_offset FROM sink_watermarks")
    assert mark == {"consumer_group": "soma-policies", "next_offset": 6}


async def test_of_one_batch_the_last_word_holds(sink: PolicySink, owner_dsn: str) -> None:
    await tell(
        sink,
        0,
        ("a", policy_set("a", ttl_seconds=1)),
        ("a", None),
        ("b", None),
        ("b", policy_set("b", ttl_seconds=2)),
    )

    assert in_force(owner_dsn) == {("acme", "b"): [2]}


async def test_what_comes_again_one_by_one_never_brings_a_lifted_policy_back(
    sink: PolicySink, owner_dsn: str
) -> None:
    said: list[Said] = [("team", policy_set("team")), ("team", None)]
    await tell(sink, 0, *said)

    assert [await tell(sink, offset, each) for offset, each in enumerate(said)] == [0, 0]

    assert in_force(owner_dsn) == {}


async def test_a_topic_that_was_made_anew_is_newer_than_all_before(sink: PolicySink, owner_dsn: str) -> None:
    await tell(sink, 7, ("team", policy_set("team", ttl_seconds=1)))

    await tell(sink, 0, ("team", policy_set("team", ttl_seconds=2)), epoch=2)
    await tell(sink, 8, ("team", policy_set("team", ttl_seconds=1)))

    assert in_force(owner_dsn) == {("acme", "team"): [2]}


async def test_whoever_listens_is_told_whose_policies_have_changed(sink: PolicySink, worker_dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(worker_dsn, autocommit=True) as listening:
        await listening.execute("LISTEN soma_policies")

        await tell(sink, 0, ("a", policy_set("a")), ("b", policy_set("b")))
        await tell(sink, 0, ("a", policy_set("a")))
        await tell(sink, 2, ("", None), tenant="globex")

        heard = [each.payload async for each in listening.notifies(timeout=10, stop_after=2)]
    assert heard == ["acme", "globex"]
