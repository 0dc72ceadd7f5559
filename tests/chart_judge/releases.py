"""The releases that are looked at: for several files of values, what Helm makes of the chart."""

import subprocess
from functools import cache
from pathlib import Path

from chart.__main__ import CHART
from chart.checking_tools import helm
from chart_judge.rendered import NAMESPACE, Rendered

VALUES = Path(__file__).parents[1] / "deploy" / "chart_values"
PRODUCTION = CHART / "values-production.yaml"

# What the values of each release ask for, beyond what every release has to be.
RELEASES = {
    "small": frozenset[str](),
    "operators": frozenset[str](),
    "gateway": frozenset[str](),
    "tls_inside": frozenset[str](),
    "kind": frozenset[str](),
    "nothing_extra": frozenset({"no network policies", "not prepared"}),
    "production": frozenset({"encrypted", "edge is closed", "archived"}),
}


def values_of_release(release: str) -> Path:
    """Return the file of values of a release."""
    return PRODUCTION if release == "production" else VALUES / f"{release}.yaml"


@cache
def rendered(release: str) -> Rendered:
    """Return the objects of a release: copy them before you change any."""
    made = helm_template("--values", str(values_of_release(release)))
    assert made.returncode == 0, made.stderr
    return Rendered.read(made.stdout, RELEASES[release])


def helm_template(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `helm template` on the chart.

    Raises:
        AssertionError: Helm is not installed; the words say how to install it.
    """
    assert helm().is_file(), "Helm is not installed: python -m chart.checking_tools"
    return subprocess.run(
        [helm(), "template", "soma", CHART, "--namespace", NAMESPACE, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
