"""The metrics of lag as Prometheus reads them.

There may be as many partitions as a cluster has, so lines are written by hand, once in a round: the client
library would take seconds for what a scrape wants in a tenth of one.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricSource

from soma_streams.lag.book import GroupView, PartitionView
from soma_streams.lag.facts import Place
from soma_streams.lag.lag_collector import Collector

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Family(NamedTuple):
    """One gauge per group, topic and partition; no value is no line.

    Attributes:
        name: Of the metric.
        help: What it is.
        value: Its value.
    """

    name: str
    help: str
    value: Callable[[PartitionView], float | None]


FAMILIES = (
    Family("soma_lag_records", "Offsets that a group has still to read.", lambda view: view.lag_records),
    Family(
        "soma_lag_seconds",
        "Age of the oldest record that a group has still to read; 0 where there is none.",
        lambda view: view.lag_seconds,
    ),
    Family(
        "soma_lag_headroom_records",
        "Offsets that retention can delete before it comes to what a group has not read.",
        lambda view: view.headroom_records,
    ),
    Family(
        "soma_lag_headroom_seconds",
        "Time until retention may delete what a group has not read; absent where it deletes nothing.",
        lambda view: view.headroom_seconds,
    ),
    Family(
        "soma_lag_catch_up_seconds",
        "Time until a group has read everything, at its pace of late; absent where it never does.",
        lambda view: view.catch_up_seconds,
    ),
)
STATUS = "soma_lag_status"
_STATUS_HELP = "1 for the status that a group has in a partition: OK, UNKNOWN, WARN, STALL, STOP or REWIND."
MEMBERS = "soma_lag_group_members"
_MEMBERS_HELP = "Members of a group."
START, END = "soma_log_start_offset", "soma_log_end_offset"
_START_HELP = "The first offset that a partition still has."
_END_HELP = "The next offset that a partition will have."


def exposition(groups: Iterable[GroupView]) -> bytes:
    """Return what is known of all groups in Prometheus's text format."""
    groups = tuple(groups)
    lines: list[str] = []
    labelled = [
        (f'{{group="{name}",topic="{escaped(view.place.topic)}",partition="{view.place.partition}"', view)
        for group in groups
        for name in [escaped(group.name)]
        for view in group.partitions
    ]
    for family in FAMILIES:
        lines.append(_head(family.name, family.help))
        name, value_of = family.name, family.value
        lines.extend(
            f"{name}{labels}}} {value}\n"
            for labels, view in labelled
            if (value := value_of(view)) is not None
        )
    lines.append(_head(STATUS, _STATUS_HELP))
    lines.extend(f'{STATUS}{labels},status="{view.status.value}"}} 1\n' for labels, view in labelled)
    lines.append(_head(MEMBERS, _MEMBERS_HELP))
    lines.extend(f'{MEMBERS}{{group="{escaped(each.name)}"}} {len(each.members)}\n' for each in groups)
    lines.extend(_bounds(groups))
    return "".join(lines).encode()


def escaped(label: str) -> str:
    """Return a name fit to be the value of a label."""
    return label.translate(_ESCAPES)


def _head(name: str, words: str) -> str:
    return f"# HELP {name} {words}\n# TYPE {name} gauge\n"


def _bounds(groups: Iterable[GroupView]) -> Iterator[str]:
    known: dict[Place, tuple[int, int]] = {
        view.place: (view.sample.start, view.sample.end)
        for group in groups
        for view in group.partitions
        if view.sample is not None
    }
    for name, words, index in ((START, _START_HELP, 0), (END, _END_HELP, 1)):
        yield _head(name, words)
        for (topic, partition), bounds in known.items():
            yield f'{name}{{topic="{escaped(topic)}",partition="{partition}"}} {bounds[index]}\n'


class CollectorMetrics(MetricSource):
    """What the collector tells of itself, read when somebody asks.

    Args:
        collector: The collector.
        registry: Where metrics are collected.
    """

    def __init__(self, collector: Collector, registry: CollectorRegistry) -> None:
        self._collector = collector
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        collector = self._collector
        rounds = CounterMetricFamily(
            "soma_lag_rounds", "Rounds over all groups, by result.", labels=["result"]
        )
        rounds.add_metric(["ok"], collector.rounds)
        rounds.add_metric(["failed"], collector.failed_rounds)
        yield rounds
        yield GaugeMetricFamily(
            "soma_lag_groups", "Groups that the newest round has found.", value=len(collector.views)
        )
        yield GaugeMetricFamily(
            "soma_lag_round_seconds", "How long the newest round took.", value=collector.round_seconds
        )
        age = collector.age_seconds
        if age is not None:
            yield GaugeMetricFamily(
                "soma_lag_round_age_seconds",
                "How old the newest round is that succeeded; absent before the first.",
                value=age,
            )
