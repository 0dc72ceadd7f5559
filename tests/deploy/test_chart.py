"""The Helm chart, rendered by Helm: valid, complete, locked down. `make deploy-check` runs it."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from chart.__main__ import CHART
from chart.checking_tools import KUBERNETES_VERSIONS, helm
from chart_judge.releases import RELEASES, helm_template, rendered, values_of_release
from chart_judge.rendered import Rendered
from chart_judge.rules import RULES
from chart_judge.schema_validation import invalid, validated
from conftest import Counting

pytestmark = pytest.mark.chart


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("release", RELEASES)
def test_every_object_fits_its_schema(release: str, version: str, counting: Counting) -> None:
    objects = rendered(release)

    assert list(invalid(objects, version)) == []
    counting(f"objects that fit the schemas of Kubernetes {version} and of operators", validated(objects))


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_parts_beside_the_chart_in_kind_fit_their_schemas(version: str) -> None:
    parts = Rendered.read((Path(__file__).parent / "kind" / "parts.yaml").read_text(encoding="utf-8"))

    assert list(invalid(parts, version)) == []
    assert validated(parts) == 9


@pytest.mark.parametrize("name", RULES)
def test_a_rule_holds_for_all_releases(name: str, counting: Counting) -> None:
    checks = [check for release in RELEASES for check in RULES[name](rendered(release))]

    assert [check for check in checks if check.fault is not None] == []
    assert checks, "nothing was looked at"
    counting("checks of objects by rules", len(checks))
    counting("rules", 1)


def test_a_field_that_is_unknown_does_not_fit() -> None:
    objects = rendered("operators").copy()
    for each in objects.objects:
        each["spec"] = {**each.get("spec", {}), "colour": "green"}

    told = list(invalid(objects, KUBERNETES_VERSIONS[0]))

    kinds = {each["kind"] for each in objects.objects}
    # No schema of theirs can be had: rules look at them.
    assert kinds - {one.partition(" ")[0] for one in told} == {"Cluster", "ScheduledBackup"}


@pytest.mark.parametrize(
    ("said", "arguments"),
    {
        "additional properties 'sasl_password' not allowed": [
            "--set",
            "settings.kafka.sasl_password=hunter2",
        ],
        "additional properties 'colour' not allowed": ["--set", "settings.api.colour=green"],
        "additional properties 'bootstrap_servers' not allowed": [
            "--set",
            "secretSettings.kafka.bootstrap_servers.secret=x,secretSettings.kafka.bootstrap_servers.key=y",
        ],
        "oneOf": ["--set", "secretSettings.kafka.sasl_password.key=y"],
        "got string, want integer": ["--set-string", "settings.topics.partitions=many"],
        "network.peers.kafka is needed": ["--set", "settings.kafka.bootstrap_servers=kafka.example.com:9092"],
        "network.peers.rateLimitStore is needed": [
            "--set",
            "secretSettings.api.rate_limit_store.secret=x,secretSettings.api.rate_limit_store.key=y",
        ],
        "jobs.backup.image": ["--set", "jobs.backup.enabled=true"],
        "jobs.drill tries the archives of jobs.backup": ["--set", "jobs.drill.enabled=true"],
        "monitoring.apiKey": ["--set", "monitoring.enabled=true"],
        "ingress.host": ["--set", "ingress.enabled=true"],
        "set collector.enabled": [
            "--set",
            "collector.enabled=false,workers.postgres.autoscaling.enabled=true",
        ],
        "no topic could be made": [
            "--set",
            "operators.strimzi.enabled=true,settings.topics.replication_factor=5",
        ],
    }.items(),
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_values_that_cannot_work_are_refused_with_a_reason(said: str, arguments: list[str]) -> None:
    made = helm_template("--values", str(values_of_release("small")), *arguments)

    assert made.returncode != 0
    assert said in made.stderr


@pytest.mark.parametrize("release", RELEASES)
def test_helm_finds_nothing_to_complain_about(release: str) -> None:
    linted = subprocess.run(
        [helm(), "lint", "--strict", CHART, "--values", values_of_release(release)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_a_package_holds_what_the_folder_links_to(tmp_path: Path) -> None:
    subprocess.run([helm(), "package", CHART, "--destination", tmp_path], check=True, capture_output=True)

    [package] = tmp_path.iterdir()
    with tarfile.open(package) as archive:
        held = {member.name.removeprefix("somafractalmemory/"): member for member in archive.getmembers()}
    linked = [
        path.relative_to(CHART)
        for name in ("dashboards", "rules")
        for path in (CHART / "files" / name).iterdir()
    ]
    assert linked
    assert all(held[str(path)].size == (CHART / path).stat().st_size for path in linked)


def test_what_no_process_finds_by_itself_has_to_be_said() -> None:
    made = helm_template()

    assert made.returncode != 0
    assert "settings.kafka.bootstrap_servers is needed" in made.stderr
