"""The inner parts of Faust, aiokafka and mode that the transport leans on, checked before it is used.

None of them promises to keep these. A check of names and signatures does not prove that they still do the
same; the versions are those on which the transport's own tests have passed.
"""

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module, metadata
from typing import Any

from .transport_errors import IncompatibleRuntimeError

TESTED_VERSIONS = {"aiokafka": "0.14.0", "faust-streaming": "0.15.3", "mode-streaming": "0.7.1"}

_CONSUMER = "faust.transport.consumer:Consumer"
_DRIVER = "faust.transport.drivers.aiokafka"
_COORDINATOR = "aiokafka.consumer.group_coordinator:GroupCoordinator"

# What is called or replaced, with the names of its parameters.
CALLABLES: Mapping[str, tuple[str, ...]] = {
    # The transport replaces these; Faust has to go on calling them.
    "faust.transport.consumer:Fetcher._fetcher": ("self",),
    f"{_CONSUMER}._drain_messages": ("self", "fetcher"),
    f"{_CONSUMER}.ack": ("self", "message"),
    f"{_CONSUMER}.close": ("self",),
    f"{_CONSUMER}.commit": ("self", "topics", "start_new_transaction"),
    f"{_CONSUMER}.force_commit": ("self", "topics", "start_new_transaction"),
    f"{_CONSUMER}.on_partitions_revoked": ("self", "revoked"),
    f"{_CONSUMER}.perform_seek": ("self",),
    f"{_CONSUMER}.resume_flow": ("self",),
    f"{_CONSUMER}.verify_all_partitions_active": ("self",),
    f"{_CONSUMER}.wait_empty": ("self",),
    f"{_CONSUMER}._seek": ("self", "partition", "offset"),
    "faust.transport.consumer:ThreadDelegateConsumer._new_consumer_thread": ("self",),
    "faust.transport.consumer:ThreadDelegateConsumer.seek_wait": ("self", "partitions"),
    f"{_DRIVER}:AIOKafkaConsumerThread.__post_init__": ("self",),
    f"{_DRIVER}:AIOKafkaConsumerThread.on_start": ("self",),
    f"{_DRIVER}:AIOKafkaConsumerThread.on_thread_stop": ("self",),
    f"{_DRIVER}:AIOKafkaConsumerThread._create_worker_consumer": ("self", "transport"),
    f"{_DRIVER}:AIOKafkaConsumerThread.seek_to_committed": ("self",),
    f"{_DRIVER}:ConsumerRebalanceListener.on_partitions_assigned": ("self", "assigned"),
    # The transport calls these.
    f"{_CONSUMER}._get_active_partitions": ("self",),
    f"{_CONSUMER}.commit_and_end_transactions": ("self",),
    f"{_CONSUMER}.stop_flow": ("self",),
    f"{_DRIVER}:AIOKafkaConsumerThread._ensure_consumer": ("self",),
    f"{_DRIVER}:server_list": ("urls", "default_port"),
    f"{_DRIVER}:credentials_to_aiokafka_auth": ("credentials", "ssl_context"),
    "faust.tables.manager:TableManager._update_channels": ("self",),
    "faust.transport.conductor:Conductor.acks_enabled_for": ("self", "topic"),
    "mode.services:Service.crash": ("self", "reason"),
    "mode.services:Service.add_future": ("self", "coro"),
    "aiokafka.consumer:AIOKafkaConsumer.getmany": ("self", "partitions", "timeout_ms", "max_records"),
    "aiokafka.consumer:AIOKafkaConsumer.seek": ("self", "partition", "offset"),
    "aiokafka.consumer:AIOKafkaConsumer.subscription": ("self",),
    "aiokafka.consumer:AIOKafkaConsumer.partitions_for_topic": ("self", "topic"),
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": ("self", "partitions", "timeout", "max_records"),
    # Reads through the module's name MemoryRecords, which the transport replaces.
    "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": ("self",),
    "aiokafka.record.memory_records:_MemoryRecordsPy.has_next": ("self",),
    "aiokafka.consumer.subscription_state:Assignment.state_value": ("self", "tp"),
    "aiokafka.consumer.subscription_state:SubscriptionState.fetch_context": ("self",),
    f"{_COORDINATOR}._do_commit_offsets": ("self", "assignment", "offsets"),
    f"{_COORDINATOR}.check_errors": ("self",),
    f"{_COORDINATOR}.ensure_coordinator_known": ("self",),
    f"{_COORDINATOR}.fetch_committed_offsets": ("self", "partitions"),
}

# What an object has from its beginning, or as a property.
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    _CONSUMER: ("_acked_index", "_unacked_messages", "callback", "can_resume_flow", "flow_active"),
    "faust.types.tuples:Message": ("acked", "refcount", "tracked"),
    "mode.threads:ServiceThread": ("parent_loop", "thread_loop", "should_stop"),
    "aiokafka.consumer:AIOKafkaConsumer": ("_client", "_coordinator", "_subscription"),
    "aiokafka.consumer.subscription_state:Assignment": ("tps",),
    "aiokafka.consumer.subscription_state:Subscription": ("assignment",),
    "aiokafka.consumer.subscription_state:SubscriptionState": ("subscription",),
    "aiokafka.consumer.subscription_state:TopicPartitionState": (
        "has_valid_position",
        "highwater",
        "lso",
        "position",
        "_position_fut",
    ),
    _COORDINATOR: ("_commit_lock", "generation"),
}


def check_runtime() -> None:
    """Refuse libraries that differ from those on which the transport was built.

    Raises:
        IncompatibleRuntimeError: Names every difference.
    """
    differences = tuple(_differences())
    if differences:
        raise IncompatibleRuntimeError(differences)


def _differences() -> Iterator[str]:
    for name, tested in TESTED_VERSIONS.items():
        installed = metadata.version(name)
        if installed != tested:
            yield f"{name} is {installed}, tested was {tested}"
    for path, parameters in CALLABLES.items():
        found = _find(path)
        if found is None:
            yield f"{path} is gone"
        elif (now := tuple(inspect.signature(_function(found)).parameters)) != parameters:
            yield f"{path} takes ({', '.join(now)}), expected was ({', '.join(parameters)})"
    for path, names in ATTRIBUTES.items():
        owner = _find(path)
        if owner is None:
            yield f"{path} is gone"
            continue
        for name in names:
            if not _has(owner, name):
                yield f"{path} has no {name}"
    # The iterator written in Python acknowledges batches of a former generation.
    if _find("faust.streams:_CStreamIterator") is None:
        yield "Faust runs without its compiled stream iterator; is NO_CYTHON set?"


def _find(path: str) -> Any:
    module, _, names = path.partition(":")
    try:
        found: Any = import_module(module)
    except ImportError:
        return None
    for name in names.split("."):
        found = getattr(found, name, None)
    return found


def _function(found: Any) -> Any:
    """Look through mode's decorator of background tasks."""
    return getattr(found, "fun", found)


def _has(owner: type, name: str) -> bool:
    """Tell whether a class, or its constructor, or one that it inherits, brings the name."""
    return any(
        name in vars(base) or name in getattr(vars(base).get("__init__"), "__code__", _NOTHING).co_names
        for base in owner.__mro__
    )


class _Nothing:
    co_names: tuple[str, ...] = ()


_NOTHING = _Nothing()
