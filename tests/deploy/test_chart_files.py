"""What the Helm chart takes from the code is what the code says."""

from pathlib import Path

import pytest

from chart.__main__ import CHART, COMMAND, written

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", written(), ids=lambda path: path.name)
def test_what_is_committed_is_what_the_code_makes(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == written()[path], COMMAND


@pytest.mark.parametrize(
    ("name", "source"),
    {"dashboards": "deploy/grafana/dashboards", "rules": "deploy/prometheus/rules"}.items(),
)
def test_dashboards_and_rules_stand_in_one_place(name: str, source: str) -> None:
    assert (CHART / "files" / name).is_symlink()
    assert (CHART / "files" / name).resolve() == _ROOT / source


def test_the_version_is_that_of_the_package() -> None:
    package = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    chart = (CHART / "Chart.yaml").read_text(encoding="utf-8")

    [version] = [line.split('"')[1] for line in package.splitlines() if line.startswith("version = ")]
    assert f'appVersion: "{version}"' in chart
