"""How metrics are declared, once each, and how a process makes and writes those that it feeds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, TypeVar, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from soma_schemas import tracing

LATENCY_BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 5, 10, 30)

_TOTAL = "_total"

# The values of a label: those of an enum, or, in words, what bounds their number.
Labels = Mapping[str, type[StrEnum] | str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Metric:
    """A metric as it is declared.

    Attributes:
        name: As Prometheus reads it; of a counter it ends in `_total`.
        meaning: What it says, and where it helps, what a rise means.
        unit: What is counted or measured, in the plural.
        labels: Their names, and the values that each can have.
    """

    name: str
    meaning: str
    unit: str
    labels: Labels = field(default_factory=lambda: MappingProxyType({}))

    kind = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class CounterMetric(Metric):
    """Only rises, until the process ends."""

    kind = "counter"

    def __post_init__(self) -> None:
        """Hold the name to the convention.

        Raises:
            ValueError: It has another ending.
        """
        if not self.name.endswith(_TOTAL):
            raise ValueError(f"the name of the counter {self.name} does not end in {_TOTAL}")


@dataclass(frozen=True, eq=False, kw_only=True)
class GaugeMetric(Metric):
    """Is what it is now."""

    kind = "gauge"


@dataclass(frozen=True, eq=False, kw_only=True)
class HistogramMetric(Metric):
    """Counts observations by their size.

    Attributes:
        buckets: The upper bounds.
    """

    buckets: tuple[float, ...] = LATENCY_BUCKETS

    kind = "histogram"


class Catalogue:
    """The metrics of one part, in the order in which they were declared."""

    def __init__(self) -> None:
        self._metrics: list[Metric] = []

    def __iter__(self) -> Iterator[Metric]:
        """Return all that are declared."""
        return iter(self._metrics)

    def counter(self, name: str, meaning: str, *, unit: str, labels: Labels | None = None) -> CounterMetric:
        """Declare a counter; its name ends in `_total`."""
        return self._kept(CounterMetric(name=name, meaning=meaning, unit=unit, labels=labels or {}))

    def gauge(self, name: str, meaning: str, *, unit: str, labels: Labels | None = None) -> GaugeMetric:
        """Declare a gauge."""
        return self._kept(GaugeMetric(name=name, meaning=meaning, unit=unit, labels=labels or {}))

    def histogram(
        self,
        name: str,
        meaning: str,
        *,
        unit: str = "seconds",
        labels: Labels | None = None,
        buckets: tuple[float, ...] = LATENCY_BUCKETS,
    ) -> HistogramMetric:
        """Declare a histogram."""
        return self._kept(
            HistogramMetric(name=name, meaning=meaning, unit=unit, labels=labels or {}, buckets=buckets)
        )

    def _kept(self, metric: "_M") -> "_M":
        self._metrics.append(metric)
        return metric


_M = TypeVar("_M", bound=Metric)
_Made = TypeVar("_Made", Counter, Gauge, Histogram)

OF_EVERY_PROCESS = Catalogue()
for _gauge, _unit, _meaning in (
    ("process_virtual_memory_bytes", "bytes", "Virtual memory."),
    ("process_resident_memory_bytes", "bytes", "Memory that it has. A steady rise is a leak."),
    ("process_start_time_seconds", "seconds", "When it started, since 1970. A change is a restart."),
    ("process_open_fds", "file descriptors", "Open files and connections."),
    ("process_max_fds", "file descriptors", "Most that it may have open."),
):
    OF_EVERY_PROCESS.gauge(_gauge, _meaning, unit=_unit)
OF_EVERY_PROCESS.counter("process_cpu_seconds_total", "Processor time that it has used.", unit="seconds")
OF_EVERY_PROCESS.gauge(
    "python_info",
    "1, with the version of Python.",
    unit="processes",
    labels=dict.fromkeys(
        ("implementation", "major", "minor", "patchlevel", "version"), "one, as the process is"
    ),
)
for _counter, _unit, _meaning in (
    ("python_gc_objects_collected_total", "objects", "Objects that the garbage collector has freed."),
    ("python_gc_objects_uncollectable_total", "objects", "Objects that it could not free."),
    ("python_gc_collections_total", "collections", "Times that it has run."),
):
    OF_EVERY_PROCESS.counter(_counter, _meaning, unit=_unit, labels={"generation": "three of them"})


class Exposition(NamedTuple):
    """What a scrape is answered: the body, and the content type that it is of."""

    body: bytes
    content_type: str


# What is read when somebody asks: the values of the labels, in the order of their declaration, and the value.
Values = Callable[[], Iterable[tuple[tuple[str, ...], float]]]

_Sources = dict[CounterMetric | GaugeMetric, list[Values]]


class MetricSet:
    """The metrics that one process feeds, each made once, whoever asks for it.

    Args:
        registry: Where they are collected; None makes one.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._made: dict[Metric, Counter | Gauge | Histogram] = {}
        self._read: _Sources = {}
        self._all_read: list[_Sources] = [self._read]
        self.registry.register(_WhenAsked(self._all_read))

    @classmethod
    def of_process(cls) -> "MetricSet":
        """Return the set of this process, with what the client library tells of it and of Python."""
        # For each counter and bucket row the time at which it began: a third more lines, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has not typed it
        made = cls()
        ProcessCollector(registry=made.registry)
        PlatformCollector(registry=made.registry)
        GCCollector(registry=made.registry)
        return made

    def counter(self, metric: CounterMetric) -> Counter:
        """Return the counter that was declared so."""
        return self._once(metric, Counter)

    def gauge(self, metric: GaugeMetric) -> Gauge:
        """Return the gauge that was declared so."""
        return self._once(metric, Gauge)

    def histogram(self, metric: HistogramMetric) -> Histogram:
        """Return the histogram that was declared so."""
        return self._once(metric, partial(Histogram, buckets=metric.buckets))

    def _once(self, metric: Metric, make: "Callable[..., _Made]") -> "_Made":
        made = self._made.get(metric)
        if made is None:
            made = make(metric.name, metric.meaning, tuple(metric.labels), registry=self.registry)
            self._made[metric] = made
        return cast("_Made", made)  # what it was declared as tells its class

    def read(self, metric: CounterMetric | GaugeMetric, values: Values) -> None:
        """Have values read at each scrape, in its thread; several sources may share a metric.

        Args:
            metric: Declared so.
            values: Returns them; it does not raise, also while the process stops.
        """
        self._read.setdefault(metric, []).append(values)

    @contextmanager
    def for_a_time(self) -> Iterator["MetricSet"]:
        """Hand out this very set; what is read through it is read until the block ends."""
        own: _Sources = {}
        part = copy(self)
        vars(part)["_read"] = own
        self._all_read.append(own)
        try:
            yield part
        finally:
            self._all_read[:] = [each for each in self._all_read if each is not own]

    def exposition(self, accept: str) -> Exposition:
        """Return everything in the format that a scrape prefers: OpenMetrics carries exemplars, text none.

        Args:
            accept: The request's header.
        """
        encode, content_type = choose_encoder(accept)
        return Exposition(encode(self.registry), content_type)


def observe(histogram: Histogram, value: float) -> None:
    """Observe a value, with the way to the trace that is current, if that is kept."""
    histogram.observe(value, tracing.exemplar())


class _WhenAsked(Collector):
    """Reads values at each scrape."""

    def __init__(self, sources: Sequence["_Sources"]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Family]:
        """Yield every metric that is read."""
        merged: _Sources = {}
        for each in tuple(self._sources):
            for metric, values_of in tuple(each.items()):
                merged.setdefault(metric, []).extend(values_of)
        for metric, sources in merged.items():
            made = CounterMetricFamily if isinstance(metric, CounterMetric) else GaugeMetricFamily
            family = made(metric.name, metric.meaning, labels=tuple(metric.labels))
            for values in sources:
                for labels, value in values():
                    family.add_metric(labels, value)
            yield family
