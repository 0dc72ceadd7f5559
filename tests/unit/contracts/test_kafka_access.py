"""What each service may do on the brokers, and what none of them may."""

import re
from pathlib import Path

import pytest

from soma_schemas.kafka_access import Operation, Resource, Service, rights_of
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS, TOPICS

TOPIC_SETTINGS = TopicSettings(prefix="here.")
EVENTS, LETTERS = "here.memory.events", "here.memory.events.dlq"


def may(service: Service, operation: Operation, name: str, resource: Resource = Resource.TOPIC) -> bool:
    return any(
        right.resource is resource
        and operation in right.operations
        and (name.startswith(right.name) if right.prefixed else name == right.name)
        for right in rights_of(service, TOPIC_SETTINGS)
    )


def writers(name: str) -> set[Service]:
    return {service for service in Service if may(service, Operation.WRITE, name)}


def test_who_writes_what() -> None:
    written = {topic.name: writers(topic.full_name(TOPIC_SETTINGS)) for topic in TOPICS}

    assert written == {
        "memory.events": {Service.API, Service.RETENTION_WORKER, Service.REPLAY, Service.PRODUCER},
        "memory.events.dlq": {Service.POSTGRES_WORKER, Service.VECTOR_WORKER, Service.RETENTION_WORKER},
        "memory.expiring": {Service.RETENTION_WORKER},
        "memory.expired": {Service.RETENTION_WORKER},
        "memory.policies": {Service.API, Service.REPLAY},
        "memory.erasures": {Service.API, Service.RETENTION_WORKER, Service.REPLAY},
        "memory.keys": {Service.API, Service.RETENTION_WORKER, Service.PRODUCER},
    }


def test_rights_to_events_hold_in_every_epoch_and_never_for_dead_letters() -> None:
    assert writers(MEMORY_EVENTS.full_name(TOPIC_SETTINGS, 2)) == writers(EVENTS)
    assert not may(Service.API, Operation.WRITE, LETTERS)
    assert not may(Service.VECTOR_WORKER, Operation.READ, DEAD_LETTERS.full_name(TOPIC_SETTINGS))


@pytest.mark.parametrize("service", [Service.API, Service.LAG_COLLECTOR, Service.PRODUCER])
def test_who_only_publishes_or_looks_reads_nothing(service: Service) -> None:
    assert not any(Operation.READ in right.operations for right in rights_of(service, TOPIC_SETTINGS))


@pytest.mark.parametrize("service", list(Service))
def test_everybody_may_look_at_the_topics_and_nobody_at_those_of_others(service: Service) -> None:
    for topic in TOPICS:
        assert may(service, Operation.DESCRIBE, topic.full_name(TOPIC_SETTINGS))
        assert may(service, Operation.DESCRIBE_CONFIGS, topic.full_name(TOPIC_SETTINGS))
        assert not may(service, Operation.DESCRIBE, topic.name)


def test_a_worker_joins_its_own_groups_alone() -> None:
    joined = {
        service: {
            group
            for group in (
                "soma-postgres",
                "soma-vectors",
                "soma-dead-letters",
                "soma-policies",
                "soma-erasures",
            )
            if may(service, Operation.READ, f"here.{group}", Resource.GROUP)
        }
        for service in Service
    }

    assert joined == {
        Service.API: set(),
        Service.POSTGRES_WORKER: {"soma-postgres", "soma-dead-letters"},
        Service.VECTOR_WORKER: {"soma-vectors"},
        Service.RETENTION_WORKER: {"soma-policies", "soma-erasures"},
        Service.LAG_COLLECTOR: set(),
        Service.REPLAY: {"soma-dead-letters"},
        Service.PRODUCER: set(),
    }


GUIDE = Path(__file__).parents[3] / "docs/guides/security.md"


@pytest.mark.parametrize("service", list(Service))
def test_the_guide_tells_the_rights_of_every_service(service: Service) -> None:
    rights = [right for right in rights_of(service, TopicSettings()) if not right.name.endswith(".e")]
    (row,) = [line for line in GUIDE.read_text().splitlines() if line.startswith(f"| `{service}` |")]
    _, _, *told, _ = [set(re.findall("`([^`]+)`", cell)) for cell in row.split("|")]

    def named(resource: Resource, operation: Operation) -> set[str]:
        return {
            right.name for right in rights if right.resource is resource and operation in right.operations
        }

    assert told == [
        named(Resource.TOPIC, Operation.READ),
        named(Resource.TOPIC, Operation.WRITE),
        named(Resource.GROUP, Operation.READ),
    ]
