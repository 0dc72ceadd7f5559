"""Draws the dashboards from a run with faults: `PYTHONPATH=tests python -m dashboard_pictures`."""

import math
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from caches import cache_folder
from conftest import LocalParts
from dashboards.boards import BOARDS
from dashboards.panels import Board, Panel
from dead_letter_makers import RawLog
from monitored import monitored
from prometheus_server import PrometheusServer, sped_up
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import PublishingSettings, TopicSettings
from soma_schemas.tables.migrations import migrate
from soma_schemas.topic_admin import apply_topics, open_admin

FOLDER = Path(__file__).parents[1] / "docs/guides/operating"
_COLUMNS = 2
_LEGENDS = 6  # more of them hide the lines
_UNITS = {"s": "seconds", "d": "days", "percentunit": "share", "reqps": "per second", "bytes": "bytes"}
_ROOM = 1.08  # above the highest value


def main() -> None:
    """Run everything for two minutes, PostgreSQL away for a while in the middle, and draw every dashboard."""
    clock, rest = SystemClock(), threading.Event()
    with TemporaryDirectory() as folder, LocalParts(Path(folder) / "home", cache_folder()) as parts:
        postgres = parts.parts.postgres
        migrate(postgres.dsn(Login.OWNER))
        parts.run(postgres.grant_roles())
        settings = PublishingSettings(
            kafka=parts.parts.kafka.settings(),
            registry=parts.parts.registry.settings(),
            topics=TopicSettings(partitions=3),
        )
        apply_topics(open_admin(settings.kafka), settings.topics)
        with open_registry(settings.registry) as registry:
            register_schemas(registry, settings.topics)
        with monitored(parts, settings, Path(folder)) as running:
            began = clock.now().timestamp()
            rest.wait(40)
            log = RawLog(settings)
            for number in range(20):
                log.send([log.poison("avro", number)])
                rest.wait(0.5)
            parts.run(postgres.stop())
            rest.wait(20)
            parts.run(postgres.start())
            rest.wait(40)
            FOLDER.mkdir(exist_ok=True)
            for board in BOARDS:
                _draw(board, running.prometheus, began, clock.now().timestamp())


def _draw(board: Board, prometheus: PrometheusServer, begin: float, end: float) -> None:
    drawn = [(panel, found) for panel in board.panels if (found := _series(panel, prometheus, begin, end))]
    rows = math.ceil(len(drawn) / _COLUMNS)
    figure = Figure(figsize=(12, 2.6 * rows), layout="constrained")
    for axes, (panel, series) in zip(
        figure.subplots(rows, _COLUMNS, squeeze=False).flat, drawn, strict=False
    ):
        _panel(axes, panel, series)
        axes.set_xlim(*(datetime.fromtimestamp(at, UTC) for at in (begin, end)))
    for axes in list(figure.axes)[len(drawn) :]:
        axes.remove()
    figure.savefig(FOLDER / f"{board.uid}.png", dpi=72)


def _series(
    panel: Panel, prometheus: PrometheusServer, begin: float, end: float
) -> list[tuple[str, list[tuple[float, str]]]]:
    return [
        (_named(legend, each["metric"]), each["values"])
        for legend, query in panel.queries.items()
        for each in prometheus.history(
            sped_up(query).replace("$group", ".*").replace("$topic", ".*"), begin, end
        )
    ]


def _named(legend: str, labels: Mapping[str, Any]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: str(labels.get(found[1], "")), legend)


def _panel(axes: Axes, panel: Panel, series: list[tuple[str, list[tuple[float, str]]]]) -> None:
    for name, points in series:
        times: list[Any] = [datetime.fromtimestamp(at, UTC) for at, _ in points]  # as matplotlib takes them
        axes.plot(times, [float(value) for _, value in points], label=name, linewidth=1.2)
    unit = f" ({_UNITS[panel.unit]})" if panel.unit in _UNITS else ""
    axes.set_title(f"{panel.title}{unit}", fontsize=10, loc="left")
    axes.set_ylim(
        0, _ROOM * max(axes.get_ylim()[1], *(float(value) for _, points in series for _, value in points))
    )
    axes.grid(alpha=0.3)
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if len(series) <= _LEGENDS:
        axes.legend(loc="upper left", fontsize=7)


if __name__ == "__main__":
    main()
