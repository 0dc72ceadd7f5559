"""The chart before a real API server: every object is taken, Helm installs, upgrades and rolls back."""

import copy
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Self

import pytest
import yaml

from chart.__main__ import CHART
from chart.checking_tools import helm
from chart_judge.api_server import ApiServer, open_api_server
from chart_judge.releases import RELEASES, rendered, values_of_release
from chart_judge.rendered import NAMESPACE
from chart_judge.schema_validation import WITHOUT_SCHEMA, folder
from conftest import Counting
from waiting import eventually_now

pytestmark = pytest.mark.long

_CRD = "apiextensions.k8s.io/v1"
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
# How Helm calls the release, and so its objects.
_NAME = "soma-somafractalmemory"


def _without_schema(api_version: str, kind: str) -> dict[str, Any]:
    """Return a resource that takes everything: of these no schema can be had."""
    group, _, version = api_version.partition("/")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": _CRD,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
            ],
        },
    }


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """An API server that knows the resources of operators, with a namespace that refuses privileges."""
    with open_api_server() as running:
        resources = [
            each for path in folder().glob("*.yaml") for each in yaml.safe_load_all(path.read_text("utf-8"))
        ]
        [api_version] = WITHOUT_SCHEMA
        resources += [_without_schema(api_version, kind) for kind in ("Cluster", "ScheduledBackup")]
        for each in resources:
            made = running.create(each, NAMESPACE)
            assert made.is_success, made.text
        kinds = [
            (f"{each['spec']['group']}/{version['name']}", each["spec"]["names"]["kind"])
            for each in resources
            for version in each["spec"]["versions"]
            if version["served"]
        ]
        eventually_now(
            lambda: [kind for kind in kinds if not running.knows(*kind)], lambda unknown: not unknown
        )
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": _RESTRICTED},
        }
        made = running.create(namespace, NAMESPACE)
        assert made.is_success, made.text
        yield running


@pytest.mark.parametrize("release", RELEASES)
def test_every_object_is_taken_strictly(server: ApiServer, release: str, counting: Counting) -> None:
    for each in rendered(release).objects:
        taken = server.create(each, NAMESPACE, dry_run=True)

        assert taken.is_success, (each["kind"], each["metadata"]["name"], taken.text)
        assert "warning" not in taken.headers, (each["metadata"]["name"], taken.headers["warning"])
        counting("objects that a real API server took, strictly", 1)


def test_an_object_with_an_unknown_field_is_not_taken(server: ApiServer) -> None:
    wrong = copy.deepcopy(rendered("small").one("Deployment", "-api"))
    wrong["spec"]["template"]["spec"]["containers"][0]["colour"] = "green"

    refused = server.create(wrong, NAMESPACE, dry_run=True)

    assert "unknown field" in refused.json()["message"]


def _pod(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("release", RELEASES)
def test_every_pod_is_let_into_a_namespace_that_refuses_privileges(
    server: ApiServer, release: str, counting: Counting
) -> None:
    for pod in rendered(release).pods():
        # What is not there yet is not the matter here.
        spec = {name: value for name, value in pod.spec.items() if name != "priorityClassName"}

        taken = server.create(_pod("some-pod", spec), NAMESPACE, dry_run=True)

        assert taken.is_success, (pod.name, taken.text)
        counting("pods that Pod Security let in at `restricted`", 1)


def test_a_pod_with_privileges_is_not_let_in(server: ApiServer) -> None:
    [api] = [pod for pod in rendered("small").pods() if pod.component == "api"]
    spec = copy.deepcopy(api.spec)
    spec["containers"][0]["securityContext"]["capabilities"] = {}

    refused = server.create(_pod("some-pod", spec), NAMESPACE, dry_run=True)

    assert "violates PodSecurity" in refused.json()["message"]


class Hooks:
    """Says of each job of a hook that it has ended, as a controller would, and notes what was there then."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._seen: set[str] = set()
        self.deployments: list[set[str]] = []

    def __enter__(self) -> Self:
        self._watching = self._pool.submit(self._watch)
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._pool.shutdown()
        self._watching.result()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            for name, job in self._server.listed("batch/v1", "Job", NAMESPACE).items():
                # One of an earlier release is there until its day is over.
                if job["metadata"]["uid"] in self._seen or job["status"].get("conditions"):
                    continue
                self._seen.add(job["metadata"]["uid"])
                self.deployments.append(set(self._server.listed("apps/v1", "Deployment", NAMESPACE)))
                self._server.set_status("batch/v1", "Job", NAMESPACE, name, _ended())


def _ended() -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251  # the server has the real clock
    conditions = [{"type": each, "status": "True"} for each in ("SuccessCriteriaMet", "Complete")]
    return {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}


def _helm(server: ApiServer, *arguments: str) -> str:
    ran = subprocess.run(
        [helm(), *arguments, "--namespace", NAMESPACE],
        env={**os.environ, "KUBECONFIG": str(server.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _deploy(server: ApiServer, verb: str, release: str) -> None:
    _helm(server, verb, "soma", str(CHART), "--values", str(values_of_release(release)), "--timeout", "5m")


def _specs(server: ApiServer) -> dict[str, Any]:
    return {
        f"{kind} {name}": each["spec"]
        for api_version, kind in (
            ("apps/v1", "Deployment"),
            ("batch/v1", "CronJob"),
            ("networking.k8s.io/v1", "NetworkPolicy"),
            ("keda.sh/v1alpha1", "ScaledObject"),
        )
        for name, each in server.listed(api_version, kind, NAMESPACE).items()
    }


def test_helm_installs_upgrades_and_rolls_back(server: ApiServer) -> None:
    with Hooks(server) as hooks:
        _deploy(server, "install", "small")
        installed = _specs(server)
        _deploy(server, "upgrade", "production")
        upgraded = _specs(server)
        _helm(server, "rollback", "soma", "1")
        back = _specs(server)

    own = {
        f"{_NAME}-{name}"
        for name in ("api", "worker-postgres", "worker-vectors", "worker-retention", "lag", "toolbox")
    }
    # Prepared before the first process was there, and again before the upgrade changed any.
    assert hooks.deployments == [set(), own]
    assert f"CronJob {_NAME}-backup" in upgraded
    assert f"ScaledObject {_NAME}-worker-postgres" in upgraded
    assert back == installed
    _helm(server, "uninstall", "soma")
    assert _specs(server) == {}
    assert f"{_NAME}-backups" in server.listed("v1", "PersistentVolumeClaim", NAMESPACE)


def test_what_operators_made_stays_when_the_release_goes(server: ApiServer) -> None:
    with Hooks(server) as hooks:
        _deploy(server, "install", "operators")
    _helm(server, "uninstall", "soma")

    # The hook ran when what it prepares was asked for.
    assert [f"{_NAME}-api" in there for there in hooks.deployments] == [True]
    assert f"{_NAME}-kafka" in server.listed("kafka.strimzi.io/v1", "Kafka", NAMESPACE)
    assert len(server.listed("kafka.strimzi.io/v1", "KafkaTopic", NAMESPACE)) == 7
    assert f"{_NAME}-postgres" in server.listed("postgresql.cnpg.io/v1", "Cluster", NAMESPACE)
    assert _specs(server) == {}
