"""Who may do what on the brokers: one table, from which the local stack and deployments make their ACLs."""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from soma_schemas.groups import SinkGroup
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import (
    DEAD_LETTERS,
    EPOCH_SUFFIX,
    MEMORY_ERASURES,
    MEMORY_EVENTS,
    MEMORY_EXPIRED,
    MEMORY_EXPIRING,
    MEMORY_KEYS,
    MEMORY_POLICIES,
    TOPICS,
    Topic,
)


class Service(StrEnum):
    """Who logs in to the brokers, each with a user of its own."""

    API = "soma-api"
    POSTGRES_WORKER = "soma-postgres-worker"
    VECTOR_WORKER = "soma-vector-worker"
    RETENTION_WORKER = "soma-retention-worker"
    LAG_COLLECTOR = "soma-lag-collector"
    REPLAY = "soma-replay"
    PRODUCER = "soma-producer"


class Resource(StrEnum):
    """What rights are about."""

    TOPIC = "topic"
    GROUP = "group"


class Operation(StrEnum):
    """What may be done, as Kafka calls it; Read and Write include Describe."""

    READ = "Read"
    WRITE = "Write"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    DELETE = "Delete"


class Right(NamedTuple):
    """One line of an ACL.

    Attributes:
        name: The resource's, or what its name begins with.
        prefixed: Whether it is the latter.
    """

    resource: Resource
    name: str
    prefixed: bool
    operations: tuple[Operation, ...]


_LOOK = (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)

# Which topics a service writes, and which it reads; every one may describe all of them.
_WRITES: dict[Service, tuple[Topic, ...]] = {
    # Policies and erasures are what the API is told to publish; the keys of what it encrypts.
    Service.API: (MEMORY_EVENTS, MEMORY_POLICIES, MEMORY_ERASURES, MEMORY_KEYS),
    Service.POSTGRES_WORKER: (DEAD_LETTERS,),
    Service.VECTOR_WORKER: (DEAD_LETTERS,),
    Service.RETENTION_WORKER: (
        MEMORY_EVENTS,
        DEAD_LETTERS,
        MEMORY_EXPIRING,
        MEMORY_EXPIRED,
        MEMORY_ERASURES,
        MEMORY_KEYS,
    ),
    Service.LAG_COLLECTOR: (),
    Service.REPLAY: (MEMORY_EVENTS, MEMORY_POLICIES, MEMORY_ERASURES),
    Service.PRODUCER: (MEMORY_EVENTS, MEMORY_KEYS),
}
_READS: dict[Service, tuple[Topic, ...]] = {
    Service.API: (),
    Service.POSTGRES_WORKER: (MEMORY_EVENTS, DEAD_LETTERS),
    Service.VECTOR_WORKER: (MEMORY_EVENTS,),
    Service.RETENTION_WORKER: (MEMORY_POLICIES, MEMORY_ERASURES),
    # It samples when records were appended.
    Service.LAG_COLLECTOR: (),
    Service.REPLAY: (MEMORY_EVENTS, DEAD_LETTERS, MEMORY_POLICIES, MEMORY_ERASURES),
    Service.PRODUCER: (),
}
_GROUPS: dict[Service, tuple[SinkGroup, ...]] = {
    Service.API: (),
    Service.POSTGRES_WORKER: (SinkGroup.POSTGRES, SinkGroup.DEAD_LETTERS),
    Service.VECTOR_WORKER: (SinkGroup.VECTORS,),
    Service.RETENTION_WORKER: (SinkGroup.POLICIES, SinkGroup.ERASURES),
    Service.LAG_COLLECTOR: (),
    # It reads under a name of its own, which begins so.
    Service.REPLAY: (SinkGroup.DEAD_LETTERS,),
    Service.PRODUCER: (),
}
_WATCHES_GROUPS = frozenset({Service.LAG_COLLECTOR, Service.RETENTION_WORKER})


def rights_of(service: Service, topics: TopicSettings) -> tuple[Right, ...]:
    """Return everything that a service may do on the brokers, and nothing that it need not."""
    rights = [
        *_all_topics(TOPICS, topics, _LOOK),
        *_all_topics(_WRITES[service], topics, (Operation.WRITE,)),
        *_all_topics(_READS[service], topics, (Operation.READ,)),
        *(
            Right(Resource.GROUP, group.on_brokers(topics), prefixed=True, operations=(Operation.READ,))
            for group in _GROUPS[service]
        ),
    ]
    if service is Service.VECTOR_WORKER:
        # A rebuild of the index has groups of its own, which are deleted at its end.
        of_rebuilds = f"{SinkGroup.VECTORS.on_brokers(topics)}."
        rights.append(Right(Resource.GROUP, of_rebuilds, prefixed=True, operations=(Operation.DELETE,)))
    if service in _WATCHES_GROUPS:
        rights += [
            Right(Resource.GROUP, group.on_brokers(topics), prefixed=True, operations=(Operation.DESCRIBE,))
            for group in SinkGroup
        ]
    return tuple(rights)


def _all_topics(
    of: tuple[Topic, ...], topics: TopicSettings, operations: tuple[Operation, ...]
) -> Iterator[Right]:
    for topic in of:
        name = topics.prefix + topic.name
        yield Right(Resource.TOPIC, name, prefixed=False, operations=operations)
        if topic.per_epoch:
            # Of later epochs, and not of `memory.events.dlq`.
            yield Right(Resource.TOPIC, name + EPOCH_SUFFIX, prefixed=True, operations=operations)
