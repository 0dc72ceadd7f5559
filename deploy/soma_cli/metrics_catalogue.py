"""Which metrics each process has, and which panels and alerts use them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from soma_api.metrics import API_METRICS
from soma_cli.settings import Process
from soma_schemas.metrics import OF_EVERY_PROCESS, Catalogue, HistogramMetric, Metric
from soma_schemas.pool_metrics import POOL_METRICS
from soma_schemas.producer_metrics import PRODUCER_METRICS
from soma_schemas.vectors.measured_embedder import EMBEDDING_METRICS
from soma_streams.erasure.erasure_metrics import ERASURE_METRICS
from soma_streams.lag.exposition import COLLECTOR_METRICS
from soma_streams.metrics import RETENTION_METRICS, VECTOR_WORKER_METRICS, WORKER_METRICS

_API = (API_METRICS, PRODUCER_METRICS, POOL_METRICS, EMBEDDING_METRICS)
_VECTORS = (WORKER_METRICS, VECTOR_WORKER_METRICS, POOL_METRICS, EMBEDDING_METRICS)

METRICS_OF: Mapping[Process, Sequence[Catalogue]] = {
    Process.POSTGRES_WORKER: (WORKER_METRICS, POOL_METRICS, OF_EVERY_PROCESS),
    Process.VECTOR_WORKER: (*_VECTORS, OF_EVERY_PROCESS),
    Process.RETENTION_WORKER: (
        WORKER_METRICS,
        RETENTION_METRICS,
        ERASURE_METRICS,
        POOL_METRICS,
        OF_EVERY_PROCESS,
    ),
    Process.API: (*_API, OF_EVERY_PROCESS),
    Process.EMBEDDED_API: tuple(dict.fromkeys((*_API, *_VECTORS, OF_EVERY_PROCESS))),
    Process.LAG_COLLECTOR: (COLLECTOR_METRICS, OF_EVERY_PROCESS),
}

_RULE = re.compile(r"^\s*-?\s*(alert|record):\s*(\S+)\s*$", re.MULTILINE)
_SUFFIXES = ("_bucket", "_sum", "_count")


def series_of(metric: Metric) -> frozenset[str]:
    """Return the names under which Prometheus keeps a metric."""
    if isinstance(metric, HistogramMetric):
        return frozenset(metric.name + suffix for suffix in _SUFFIXES)
    return frozenset({metric.name})


def users_of_metrics(deploy: Path) -> Mapping[str, Sequence[str]]:
    """Return by the names of series which panels, alerts and recording rules ask for them.

    Args:
        deploy: The folder that has `grafana` and `prometheus`; of an installed package it has neither.
    """
    users: dict[str, list[str]] = {}
    for user, expression in (*_panels(deploy / "grafana"), *_rules(deploy / "prometheus")):
        for name in dict.fromkeys(re.findall(r"[a-z_:][a-z0-9_:]*", expression)):
            if user not in users.setdefault(name, []):
                users[name].append(user)
    return users


def _panels(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for panel in _with_targets(dashboard):
            for target in panel["targets"]:
                yield f"{dashboard['title']}: {panel['title']}", str(target.get("expr", ""))


def _with_targets(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if "title" in part and "targets" in part:
            yield part
        for value in part.values():
            yield from _with_targets(value)
    elif isinstance(part, list):
        for value in part:
            yield from _with_targets(value)


def _rules(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((*folder.rglob("*.yml"), *folder.rglob("*.yaml"))):
        text = path.read_text(encoding="utf-8")
        begins = [*_RULE.finditer(text)]
        for rule, follower in zip(begins, [*begins[1:], None], strict=False):
            end = len(text) if follower is None else follower.start()
            yield f"{rule[1]} {rule[2]}", text[rule.end() : end]
