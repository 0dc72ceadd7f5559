"""Turns a dashboard into the JSON that Grafana reads, by Grafana's own builders."""

import json
from collections.abc import Callable

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode, DataSourceRef
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.panels import Board, Kind, Panel

_TAG = "soma"
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
# Of the 24 columns that Grafana has.
_WIDTH = {Kind.NUMBER: 4, Kind.LINES: 12, Kind.TABLE: 12}
_HEIGHT = {Kind.NUMBER: 5, Kind.LINES: 8, Kind.TABLE: 8}

_Builder = timeseries.Panel | stat.Panel | table.Panel


def rendered(board: Board) -> str:
    """Return a dashboard's file: the same text for the same dashboard."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([_TAG])
        .time("now-1h", "now")
        .refresh("30s")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.TextBoxVariable("docs")
            .label("Address of docs")
            .description("Where the pages of docs/ are; links to runbooks begin with it.")
            .default_value("/docs")
        )
        .link(
            dashboard.DashboardLink("Soma").type(DashboardLinkType.DASHBOARDS).tags([_TAG]).as_dropdown(True)
        )
    )
    for name, query in board.variables.items():
        built.with_variable(
            dashboard.QueryVariable(name)
            .datasource(_SOURCE)
            .query(query)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    for panel in board.panels:
        built.with_panel(_panel(panel))
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _panel(panel: Panel) -> _Builder:
    make: Callable[[], _Builder] = _SHAPES[panel.kind]
    built = (
        make()
        .title(panel.title)
        .description(panel.good)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .span(_WIDTH[panel.kind])
        .height(_HEIGHT[panel.kind])
        .thresholds(_thresholds(panel))
        .links(
            [
                dashboard.DashboardLink("Runbook")
                .type(DashboardLinkType.LINK)
                .url(f"${{docs}}/runbooks/{panel.runbook}.md")
                .target_blank(True)
            ]
        )
    )
    for number, (legend, expression) in enumerate(panel.queries.items()):
        query = (
            prometheus.Dataquery()
            .datasource(_SOURCE)
            .expr(expression)
            .legend_format(legend)
            .ref_id(chr(ord("A") + number))
        )
        if panel.kind is Kind.TABLE:
            query.instant().format(PromQueryFormat.TABLE)
        built.with_target(query)
    return built


def _numbers() -> stat.Panel:
    # Colour says good or bad; a line below it says since when.
    return (
        stat.Panel()
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _lines() -> timeseries.Panel:
    return timeseries.Panel().min(0).legend(common.VizLegendOptions().show_legend(True))


_SHAPES: dict[Kind, Callable[[], _Builder]] = {
    Kind.NUMBER: _numbers,
    Kind.LINES: _lines,
    Kind.TABLE: table.Panel,
}


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(color="green")]
    if panel.bad_above is not None:
        steps.append(Threshold(color="red", value=panel.bad_above))
    if panel.bad_below is not None:
        steps = [Threshold(color="red"), Threshold(color="green", value=panel.bad_below)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
