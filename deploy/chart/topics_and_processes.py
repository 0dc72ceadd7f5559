"""What templates read of the code: the topics as declared, and which process reads which settings."""

from chart.settings_schema import WORKLOADS, parts_of
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import TOPICS, Topic

# Brokers say these of themselves in templates, by `settings.topics`.
_BY_SETTINGS = frozenset({"min.insync.replicas"})


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
