"""The Helm chart, rendered by Helm: valid, complete, locked down. `make deploy-check` runs it."""

import pytest

from chart.tools import KUBERNETES_VERSIONS
from chart_judge.releases import RELEASES, helm_template, rendered, values_of_release
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


def test_what_no_process_finds_by_itself_has_to_be_said() -> None:
    made = helm_template()

    assert made.returncode != 0
    assert "settings.kafka.bootstrap_servers is needed" in made.stderr
