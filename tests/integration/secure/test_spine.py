"""What the platform does, with TLS on every hop and nobody having more rights than the table says."""

from typing import Any

import httpx
import psycopg
import pytest
from pydantic import BaseModel

from conftest import Counting
from dead_letter_makers import Raw, RawLog
from secure_site import SecureSite
from soma_cli.local.postgres import Login
from soma_command import Soma
from soma_schemas.configuration import as_environment
from soma_schemas.kafka_access import Service
from soma_schemas.producer import DeliveryRefusedError, MemoryProducer, NewMemory
from soma_schemas.settings import (
    KafkaSettings,
    PostgresSettings,
    PublishingSettings,
    RegistrySettings,
)
from waiting import eventually_now

MEMORIES = 20
DENIED = "is Denied"


class _Operator(BaseModel):
    kafka: KafkaSettings
    registry: RegistrySettings
    postgres: PostgresSettings


@pytest.fixture(scope="module")
def told_before(site: SecureSite) -> int:
    """How many refusals the broker had told when these tests began."""
    return len(denials(site))


def denials(site: SecureSite) -> list[str]:
    """Return what the broker has refused, oldest first."""
    log = site.parts.parts.kafka._home.log("kafka").read_text()
    return [line for line in log.splitlines() if DENIED in line]


def asked(site: SecureSite, path: str, question: object = None) -> dict[str, Any]:
    """Return what the API answers, to a question where there is one."""
    with site.client() as client:
        answer = client.request("GET" if question is None else "POST", path, json=question)
    assert answer.status_code == httpx.codes.OK, answer.text
    return dict(answer.json())


def test_memories_are_stored_and_found(site: SecureSite, told_before: int, counting: Counting) -> None:
    del told_before
    with site.client() as client:
        for number in range(MEMORIES):
            memory = {
                "namespace": "assistant/ada",
                "key": f"tea-{number}",
                "text": f"Tea number {number} at four.",
            }
            answer = client.post("/v1/memories", json=memory, headers={"Prefer": "wait=25"})
            assert answer.status_code == httpx.codes.CREATED, answer.text

    found = asked(
        site, "/v1/search", {"query": "tea number 7", "filter": {"namespace": "assistant/ada"}, "top_k": 5}
    )
    assert "Tea number 7 at four." in [hit["memory"]["text"] for hit in found["hits"]]
    assert asked(site, "/v1/namespaces", None)["namespaces"][0]["memories"] == MEMORIES
    counting("memories through TLS on every hop", MEMORIES)


def test_a_record_that_is_no_event_becomes_a_dead_letter_and_replay_publishes_it_with_rights_of_its_own(
    site: SecureSite, soma: Soma
) -> None:
    log = RawLog(PublishingSettings(kafka=site.deployer(), registry=site.registry()))
    log.send([Raw(key=b"acme/x", value=b"no event")])
    eventually_now(lambda: dead_letters(site), lambda groups: groups == ["soma-postgres", "soma-vectors"])
    operator = as_environment(
        _Operator(
            kafka=site.kafka(Service.REPLAY),
            registry=site.registry(),
            postgres=site.postgres(Login.OWNER),
        )
    )

    ran = soma("dlq", "replay", "--yes", "--group", "soma-postgres", environment=operator)

    # It is no event again, for both groups.
    assert "published 1 event again; 2 dead letters are marked as replayed" in ran.out, ran.err
    eventually_now(
        lambda: dead_letters(site),
        lambda groups: groups == ["soma-postgres", "soma-postgres", "soma-vectors", "soma-vectors"],
    )


def dead_letters(site: SecureSite) -> list[str]:
    """Return the groups of all dead letters that are indexed."""
    with psycopg.connect(site.parts.parts.postgres.dsn(Login.OWNER)) as owner:
        rows = owner.execute("SELECT consumer_group FROM dead_letters ORDER BY consumer_group").fetchall()
    return [group for (group,) in rows]


def test_lag_is_told_by_a_collector_that_reads_nothing(site: SecureSite) -> None:
    report = eventually_now(
        lambda: asked(site, "/v1/lag"), lambda seen: seen["failure"] is None and len(seen["groups"]) == 5
    )

    assert report["failure"] is None


def test_nobody_was_denied_anything(site: SecureSite, told_before: int, counting: Counting) -> None:
    assert denials(site)[told_before:] == []
    counting("services that needed no other right", len(site.processes) + 1)

    # The broker would have told.
    nosy = PublishingSettings(kafka=site.kafka(Service.POSTGRES_WORKER), registry=site.registry())
    with MemoryProducer(nosy, tenant="acme") as producer, pytest.raises(DeliveryRefusedError):
        producer.store(NewMemory(namespace="a", key="b", text="c"))
    eventually_now(lambda: denials(site)[told_before:])
