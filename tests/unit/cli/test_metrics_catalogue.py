"""The catalogue of metrics, and who uses them."""

import json
from collections import Counter
from pathlib import Path

from soma_cli.metrics_catalogue import METRICS_OF, series_of, users_of_metrics

_DEPLOY = Path(__file__).parents[3] / "deploy"


def _declared() -> list[str]:
    catalogues = dict.fromkeys(each for catalogues in METRICS_OF.values() for each in catalogues)
    return [series for catalogue in catalogues for metric in catalogue for series in series_of(metric)]


def test_no_two_metrics_share_a_series() -> None:
    assert [name for name, count in Counter(_declared()).items() if count > 1] == []


def test_panels_alerts_and_records_ask_for_what_is_declared() -> None:
    asked = {name for name in users_of_metrics(_DEPLOY) if name.startswith("soma_")}

    assert "soma_events_settled_total" in asked
    assert asked - {*_declared(), *_labels()} == set()


def _labels() -> set[str]:
    """Words of ours in expressions that are no series."""
    return {"soma_docs"}


def test_users_are_found_in_panels_and_rules(tmp_path: Path) -> None:
    (tmp_path / "grafana").mkdir()
    (tmp_path / "prometheus").mkdir()
    panel = {"title": "Rate", "targets": [{"expr": "rate(soma_a_total[5m]) / soma_b_seconds_count"}]}
    dashboard = {"title": "Sinks", "panels": [{"title": "Row", "panels": [panel]}]}
    (tmp_path / "grafana" / "sinks.json").write_text(json.dumps(dashboard))
    (tmp_path / "prometheus" / "rules.yml").write_text(
        "groups:\n- rules:\n"
        "  - alert: A\n    expr: soma_a_total > 0\n"
        "  - record: soma:b\n    expr: soma_b_seconds_count\n"
    )

    users = users_of_metrics(tmp_path)

    assert users["soma_a_total"] == ["Sinks: Rate", "alert A"]
    assert users["soma_b_seconds_count"] == ["Sinks: Rate", "record soma:b"]
    assert "soma_c" not in users
