"""What templates read of the code: topics, rights on the brokers, and which process reads which settings."""

from collections.abc import Iterator

from chart.settings_schema import WORKLOADS, parts_of
from soma_cli.settings import Process
from soma_schemas.kafka_access import Service, rights_of
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import TOPICS, Topic

# Brokers say these of themselves in templates, by `settings.topics`.
_BY_SETTINGS = frozenset({"min.insync.replicas"})


_SERVICES = {
    Process.API: Service.API,
    Process.POSTGRES_WORKER: Service.POSTGRES_WORKER,
    Process.VECTOR_WORKER: Service.VECTOR_WORKER,
    Process.RETENTION_WORKER: Service.RETENTION_WORKER,
    Process.LAG_COLLECTOR: Service.LAG_COLLECTOR,
}

# Whoever makes topics, moves the log and replays dead letters: no service, and no rights beyond these names.
_OF_OPERATORS = (
    (
        "topic",
        "memory.",
        ("Alter", "AlterConfigs", "Create", "Delete", "Describe", "DescribeConfigs", "Read", "Write"),
    ),
    ("group", "soma-", ("Delete", "Describe", "Read")),
)


def topics() -> dict[str, object]:
    """Return each topic of the first epoch by name: whether it has all partitions, and its configuration."""
    return {topic.name: _topic(topic) for topic in TOPICS}


def _topic(topic: Topic) -> dict[str, object]:
    config = topic.config(TopicSettings())
    return {
        "partitionedByMemory": topic.partitioned_by_memory,
        "config": {name: value for name, value in sorted(config.items()) if name not in _BY_SETTINGS},
    }


def processes() -> dict[str, list[str]]:
    """Return for each workload the parts of the settings that it reads."""
    return {workload: sorted(parts_of(process)) for workload, process in WORKLOADS.items()}


def kafka_rights() -> dict[str, list[dict[str, object]]]:
    """Return for each workload what its user may do on the brokers; names are without the topics' prefix."""
    return {workload: list(_rights(process)) for workload, process in WORKLOADS.items()}


def _rights(process: Process) -> Iterator[dict[str, object]]:
    if process is Process.OPERATOR:
        for kind, name, operations in _OF_OPERATORS:
            yield {"type": kind, "name": name, "patternType": "prefix", "operations": list(operations)}
        return
    for right in rights_of(_SERVICES[process], TopicSettings()):
        yield {
            "type": right.resource.value,
            "name": right.name,
            "patternType": "prefix" if right.prefixed else "literal",
            "operations": [operation.value for operation in right.operations],
        }
