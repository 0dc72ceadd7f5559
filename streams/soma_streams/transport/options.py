"""What an application may choose about its transport, and the Faust settings that must go with it."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from faust.types.app import AppT
from yarl import URL

from .limits import Limits
from .monitor import BatchMonitor
from .tables import PromptTableManager
from .transport_errors import UnsafeSettingsError

SCHEME = "batch"
_AT_LEAST_ONCE = "at_least_once"


class Isolation(Enum):
    """Which records of transactions are read."""

    READ_COMMITTED = "read_committed"
    """Only those of transactions that were committed; the end of a log is then its last stable offset."""
    READ_UNCOMMITTED = "read_uncommitted"
    """Also those of transactions that are open or were aborted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One application's choices.

    Attributes:
        limits: How much is held and how long is waited.
        isolation: Which records of transactions are read.
        stands: Where the store behind the application stands, by partition; asked at every assignment. What
            was committed beyond that is read again: a store may have lost what it had. Records that are gone
            unread then end the application, for going on would make the store seem to have them.
    """

    limits: Limits = field(default_factory=Limits)
    isolation: Isolation = Isolation.READ_COMMITTED
    stands: Callable[[], Awaitable[Mapping[int, int]]] | None = None


def app_settings(bootstrap_servers: str) -> dict[str, Any]:
    """Return the keyword arguments with which `faust.App` is safe on this transport.

    Args:
        bootstrap_servers: Comma-separated `host:port`, as Kafka's own clients take them.
    """
    servers = [server.strip() for server in bootstrap_servers.split(",")]
    return {
        "broker_consumer": [URL(f"{SCHEME}://{server}") for server in servers],
        "broker_producer": [URL(f"kafka://{server}") for server in servers],
        "processing_guarantee": _AT_LEAST_ONCE,
        "consumer_auto_offset_reset": "earliest",
        "broker_commit_interval": 1.0,
        "stream_wait_empty": True,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "Monitor": BatchMonitor,
        "TableManager": PromptTableManager,
    }


def check_settings(app: AppT, options: Options) -> None:
    """Refuse an application whose settings would lose or stall records.

    Raises:
        UnsafeSettingsError: Names every such setting.
    """
    problems = tuple(_problems(app, options.limits))
    if problems:
        raise UnsafeSettingsError(problems)


def _problems(app: AppT, limits: Limits) -> Iterator[str]:
    conf = app.conf
    if app.client_only:
        yield "a client-only application has no group to commit for"
    if not conf.stream_wait_empty:
        yield "stream_wait_empty must be on, or a stop cancels agents before their batches are acknowledged"
    if str(conf.processing_guarantee.value) != _AT_LEAST_ONCE:
        yield "processing_guarantee must be at_least_once"
    if conf.stream_publish_on_commit:
        yield "stream_publish_on_commit must be off: nothing is attached to the offsets of a batch"
    if not conf.topic_disable_leader:
        yield "topic_disable_leader must be on: the leader topic does not carry batches"
    if not conf.broker_max_poll_interval:
        yield "broker_max_poll_interval must be positive, or the consumer leaves its group at once"
    if limits.drain_seconds + limits.commit_seconds >= conf.broker_rebalance_timeout:
        yield "drain_seconds and commit_seconds together must stay below broker_rebalance_timeout"
    if limits.seek_seconds >= conf.broker_request_timeout:
        yield "seek_seconds must stay below broker_request_timeout, where Faust gives up in silence"
