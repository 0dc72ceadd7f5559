"""The metrics of lag as Prometheus reads them.

There may be as many partitions as a cluster has, so lines are written by hand, once in a round: the client
library would take seconds for what a scrape wants in a tenth of one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from operator import attrgetter

from soma_schemas.lag import LagStatus
from soma_schemas.metrics import Catalogue, GaugeMetric, Labels, MetricSet
from soma_streams.lag.book import GroupView, PartitionView
from soma_streams.lag.facts import Place
from soma_streams.lag.lag_collector import Collector


class RoundResult(StrEnum):
    """How a round ended."""

    OK = "ok"
    FAILED = "failed"


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


COLLECTOR_METRICS = Catalogue()
_PARTITION: Labels = {
    "topic": "topics that groups read",
    "partition": "of the topic",
}
_GROUP_AND_PARTITION: Labels = {"group": "groups of the brokers, by SOMA_LAG__GROUPS", **_PARTITION}

# By group, topic and partition; no value is no line.
BY_PARTITION: Mapping[GaugeMetric, Callable[[PartitionView], float | None]] = {
    COLLECTOR_METRICS.gauge(
        "soma_lag_records",
        "Offsets that a group has still to read.",
        unit="records",
        labels=_GROUP_AND_PARTITION,
    ): attrgetter("lag_records"),
    COLLECTOR_METRICS.gauge(
        "soma_lag_seconds",
        "Age of the oldest record that a group has still to read; 0 where there is none.",
        unit="seconds",
        labels=_GROUP_AND_PARTITION,
    ): attrgetter("lag_seconds"),
    COLLECTOR_METRICS.gauge(
        "soma_lag_headroom_records",
        "Offsets that retention can delete before it comes to what a group has not read.",
        unit="records",
        labels=_GROUP_AND_PARTITION,
    ): attrgetter("headroom_records"),
    COLLECTOR_METRICS.gauge(
        "soma_lag_headroom_seconds",
        "Time until retention may delete what a group has not read; absent where it deletes nothing.",
        unit="seconds",
        labels=_GROUP_AND_PARTITION,
    ): attrgetter("headroom_seconds"),
    COLLECTOR_METRICS.gauge(
        "soma_lag_catch_up_seconds",
        "Time until a group has read everything, at its pace of late; absent where it never does.",
        unit="seconds",
        labels=_GROUP_AND_PARTITION,
    ): attrgetter("catch_up_seconds"),
}
STATUS = COLLECTOR_METRICS.gauge(
    "soma_lag_status",
    "1 for the status that a group has in a partition.",
    unit="partitions",
    labels={**_GROUP_AND_PARTITION, "status": LagStatus},
)
MEMBERS = COLLECTOR_METRICS.gauge(
    "soma_lag_group_members",
    "Members of a group.",
    unit="members",
    labels={"group": _GROUP_AND_PARTITION["group"]},
)
START = COLLECTOR_METRICS.gauge(
    "soma_log_start_offset", "The first offset that a partition still has.", unit="offset", labels=_PARTITION
)
END = COLLECTOR_METRICS.gauge(
    "soma_log_end_offset", "The next offset that a partition will have.", unit="offset", labels=_PARTITION
)
ROUNDS = COLLECTOR_METRICS.counter(
    "soma_lag_rounds_total",
    "Rounds over all groups, by result.",
    unit="rounds",
    labels={"result": RoundResult},
)
GROUPS = COLLECTOR_METRICS.gauge("soma_lag_groups", "Groups that the newest round has found.", unit="groups")
ROUND_SECONDS = COLLECTOR_METRICS.gauge(
    "soma_lag_round_seconds", "How long the newest round took.", unit="seconds"
)
ROUND_AGE = COLLECTOR_METRICS.gauge(
    "soma_lag_round_age_seconds",
    "How old the newest round is that succeeded; absent before the first. Where it grows, all else is old.",
    unit="seconds",
)


def exposition(groups: Iterable[GroupView]) -> bytes:
    """Return what is known of all groups in Prometheus's text format."""
    groups = tuple(groups)
    lines: list[str] = []
    # Written once for a partition, however many groups read it.
    places = {
        place: f'topic="{escaped(place.topic)}",partition="{place.partition}"'
        for place in {view.place for group in groups for view in group.partitions}
    }
    labelled = [
        (f'{{group="{name}",{places[view.place]}', view)
        for group in groups
        for name in [escaped(group.name)]
        for view in group.partitions
    ]
    for metric, value_of in BY_PARTITION.items():
        lines.append(_head(metric))
        name = metric.name
        lines.extend(
            f"{name}{labels}}} {value}\n"
            for labels, view in labelled
            if (value := value_of(view)) is not None
        )
    lines.append(_head(STATUS))
    lines.extend(f'{STATUS.name}{labels},status="{view.status.value}"}} 1\n' for labels, view in labelled)
    lines.append(_head(MEMBERS))
    lines.extend(f'{MEMBERS.name}{{group="{escaped(each.name)}"}} {len(each.members)}\n' for each in groups)
    lines.extend(_bounds(groups))
    return "".join(lines).encode()


def escaped(label: str) -> str:
    """Return a name fit to be the value of a label."""
    return label.translate(_ESCAPES)


def _head(metric: GaugeMetric) -> str:
    return f"# HELP {metric.name} {metric.meaning}\n# TYPE {metric.name} {metric.kind}\n"


def _bounds(groups: Iterable[GroupView]) -> Iterator[str]:
    known: dict[Place, tuple[int, int]] = {
        view.place: (view.sample.start, view.sample.end)
        for group in groups
        for view in group.partitions
        if view.sample is not None
    }
    for index, metric in enumerate((START, END)):
        yield _head(metric)
        for (topic, partition), bounds in known.items():
            yield f'{metric.name}{{topic="{escaped(topic)}",partition="{partition}"}} {bounds[index]}\n'


def expose(collector: Collector, metrics: MetricSet) -> None:
    """Have read at each scrape what the collector tells of itself."""

    def rounds() -> list[tuple[tuple[str, ...], float]]:
        return [((RoundResult.OK,), collector.rounds), ((RoundResult.FAILED,), collector.failed_rounds)]

    metrics.read(ROUNDS, rounds)
    metrics.read(GROUPS, lambda: [((), len(collector.views))])
    metrics.read(ROUND_SECONDS, lambda: [((), collector.round_seconds)])
    metrics.read(ROUND_AGE, lambda: [((), age) for age in [collector.age_seconds] if age is not None])
