"""What a dashboard and a panel are here, before Grafana's own types."""

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """How a panel shows its numbers."""

    NUMBER = "number"  # the newest values, large
    LINES = "lines"  # over time
    TABLE = "table"  # the newest values, one row each


class Runbook(StrEnum):
    """The pages under docs/runbooks that panels lead to."""

    BACKUP = "backup-old"
    BROKERS = "broker-outage"
    CONSUMER = "consumer-stuck"
    DATABASE = "database-failover"
    DEAD_LETTERS = "dead-letter-flood"
    DISK = "disk-full"
    DRIFT = "drift-found"
    ERASURE = "erasure-overdue"
    LATENCY = "high-latency"
    LAG = "lag-growing"
    INDEX = "qdrant-rebuild"
    SWEEPER = "sweeper-behind"
    UPGRADE = "upgrade-and-rollback"


@dataclass(frozen=True)
class Panel:
    """A question and its answer.

    Attributes:
        title: The question in a few words.
        good: What good looks like.
        runbook: What to read where it is not good.
        queries: PromQL by what its series are called; `{{label}}` is a label's value.
        unit: Grafana's name of the unit.
        kind: How it is shown.
        bad_above: From which value it is shown in red; None where that depends.
        bad_below: Below which value it is.
    """

    title: str
    good: str
    runbook: Runbook
    queries: dict[str, str]
    unit: str = "short"
    kind: Kind = Kind.LINES
    bad_above: float | None = None
    bad_below: float | None = None


@dataclass(frozen=True)
class Board:
    """A dashboard.

    Attributes:
        uid: Its name in addresses and files; Grafana keeps what was there under it.
        title: Its name for people.
        description: Who looks at it, and when.
        panels: From left to right, from top to bottom.
        variables: What one may choose, and the PromQL of `label_values` that lists it.
    """

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    variables: dict[str, str] = field(default_factory=dict)
