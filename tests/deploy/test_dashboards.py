"""The dashboards: what is committed is what the code makes, in Grafana's own types."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from conftest import Counting
from dashboards.__main__ import FOLDER
from dashboards.boards import BOARDS
from dashboards.panels import Board
from dashboards.rendering import rendered
from prometheus_rules import RULES, program

_ROOT = Path(__file__).parents[2]
_COMPOSE = yaml.safe_load((_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
_PROMETHEUS = _ROOT / "deploy/prometheus/prometheus.yml"
_PROVISIONING = _ROOT / "deploy/grafana/provisioning"
_boards = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)


def committed(board: Board) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{board.uid}.json").read_text(encoding="utf-8"))
    return found


@_boards
def test_what_is_committed_is_what_the_code_makes(board: Board) -> None:
    text = (FOLDER / f"{board.uid}.json").read_text(encoding="utf-8")

    assert text == rendered(board), "python -m dashboards"


def test_nothing_else_is_committed() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {board.uid for board in BOARDS}


@_boards
def test_grafanas_own_types_read_it_and_lose_nothing(board: Board) -> None:
    register_default_plugins()

    read = Dashboard.from_json(committed(board))

    assert json.loads(json.dumps(read, cls=JSONEncoder)) == committed(board)


@_boards
def test_whoever_imports_it_chooses_the_prometheus(board: Board) -> None:
    made = committed(board)

    sources = {each["datasource"]["uid"] for panel in made["panels"] for each in (panel, *panel["targets"])}
    assert sources == {"${datasource}"}
    assert {"datasource", "docs"} <= {variable["name"] for variable in made["templating"]["list"]}


@_boards
def test_every_panel_says_what_good_looks_like_and_leads_to_a_runbook(board: Board) -> None:
    for panel in committed(board)["panels"]:
        assert panel["description"], panel["title"]
        [link] = panel["links"]
        page = _ROOT / link["url"].replace("${docs}", "docs")
        assert "\n## What to do\n" in page.read_text(encoding="utf-8")


@_boards
def test_a_panel_asks_for_what_may_be_chosen_and_nothing_else(board: Board) -> None:
    chosen = {
        name for panel in board.panels for query in panel.queries.values() for name in _variables(query)
    }

    assert chosen == board.variables.keys()


def _variables(query: str) -> set[str]:
    return set(re.findall(r"\$(\w+)", query)) - {"__rate_interval"}


def test_prometheus_understands_every_query(tmp_path: Path, counting: Counting) -> None:
    queries = [query for board in BOARDS for panel in board.panels for query in panel.queries.values()]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    checked = subprocess.run(
        [program("promtool"), "check", "rules", str(file)], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(queries)} rules found" in checked.stdout
    counting("queries of panels checked by promtool", len(queries))


def test_every_metric_of_ours_that_is_asked_for_is_in_the_catalogue() -> None:
    catalogue = set(
        re.findall(
            r"`((?:soma|process|python)_\w+)`", (_ROOT / "docs/reference/metrics.md").read_text("utf-8")
        )
    )
    asked = [query for board in BOARDS for panel in board.panels for query in panel.queries.values()]
    asked += [rule["expr"] for rule in RULES]

    names = {name for query in asked for name in re.findall(r"\b(?:soma|process)_\w+", query)}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    assert {name for name in bare if name not in catalogue} == set()


def test_prometheus_reads_the_configuration_that_compose_gives_it(tmp_path: Path) -> None:
    here = tmp_path / "prometheus"
    rules = here / "rules"
    rules.mkdir(parents=True)
    for path in (_PROMETHEUS, *(_PROMETHEUS.parent / "rules").iterdir()):
        text = path.read_text(encoding="utf-8").replace("/run/secrets", str(tmp_path))
        (here / path.relative_to(_PROMETHEUS.parent)).write_text(text, encoding="utf-8")
    for secret in _COMPOSE["services"]["prometheus"]["secrets"]:
        (tmp_path / secret).touch()

    checked = subprocess.run(
        [program("promtool"), "check", "config", str(here / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_prometheus_scrapes_services_that_there_are() -> None:
    jobs = yaml.safe_load(_PROMETHEUS.read_text(encoding="utf-8"))["scrape_configs"]

    targets = {
        target.partition(":")[0]
        for job in jobs
        for static in job.get("static_configs", ())
        for target in static["targets"]
    } | {name for job in jobs for found in job.get("dns_sd_configs", ()) for name in found["names"]}
    assert targets <= _COMPOSE["services"].keys()


def test_grafana_is_given_the_dashboards_and_the_prometheus() -> None:
    [source] = yaml.safe_load((_PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((_PROVISIONING / "dashboards/soma.yml").read_text())["providers"]
    mounted = dict(
        volume.split(":")[:2] for volume in _COMPOSE["services"]["grafana"]["volumes"] if volume[0] == "."
    )

    assert source["url"] == "http://prometheus:9090"
    assert _ROOT / "deploy/grafana/dashboards" == FOLDER
    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
