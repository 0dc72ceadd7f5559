"""The chart in a cluster of kind: installed as its guide says, upgraded, rolled back, closed to strangers.

`make kind-check` runs it. Docker, kind and kubectl have to be there.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
import yaml

from chart.__main__ import CHART
from chart.checking_tools import helm
from chart_judge.releases import values_of_release
from installed_api import api_client, found, store
from own_processes import a_free_port
from waiting import eventually_now

pytestmark = pytest.mark.kind

ROOT = Path(__file__).parents[2]
PARTS = Path(__file__).parent / "kind" / "parts.yaml"
GUIDE = (ROOT / "docs" / "guides" / "kubernetes.md").read_text(encoding="utf-8")
IMAGE = "somafractalmemory:kind"
NAME = "soma-somafractalmemory"
LOGINS = ("soma_owner", "soma_worker", "soma_api")

_LONG = "15m"


def run(*command: str, given: str | None = None) -> str:
    """Return what a program says.

    Raises:
        AssertionError: It failed; with what it said.
    """
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, f"{' '.join(command[:4])}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Cluster:
    """A cluster of one node, made for these tests."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return run("kubectl", "--kubeconfig", str(self.kubeconfig), *arguments, given=given)

    def helm(self, *arguments: str) -> str:
        return run(str(helm()), "--kubeconfig", str(self.kubeconfig), "--namespace", "soma", *arguments)

    def secret(self, namespace: str, name: str, values: dict[str, str]) -> None:
        """Make a secret; no command line holds it."""
        made = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"namespace": namespace, "name": name},
            "stringData": values,
        }
        self.kubectl("create", "--filename", "-", given=yaml.safe_dump(made))

    @contextmanager
    def forwarded(self, service: str) -> Iterator[int]:
        """Yield a port of this machine that leads to a service of the release."""
        port = a_free_port()
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), "--namespace", "soma", "port-forward"]
        process = subprocess.Popen([*command, f"service/{service}", f"{port}:8420"])
        try:
            yield port
        finally:
            process.terminate()
            process.wait()

    def opens(self, namespace: str, host: str, port: int) -> bool:
        """Say whether a new pod of a namespace can open a connection."""
        name = f"caller-{token_hex(4)}"
        code = f"import socket; socket.create_connection(('{host}', {port}), timeout=10)"
        self.kubectl(
            *("run", name, "--namespace", namespace, "--image", IMAGE, "--image-pull-policy", "Never"),
            *("--restart", "Never", "--command", "--", "python", "-c", code),
        )
        phase = eventually_now(
            lambda: self.kubectl(
                "get", "pod", name, "--namespace", namespace, "--output", "jsonpath={.status.phase}"
            ),
            lambda phase: phase in {"Succeeded", "Failed"},
            seconds=120,
        )
        return phase == "Succeeded"


def logins(passwords: dict[str, str]) -> str:
    """Return the statements of the guide, with passwords in them."""
    statements: str
    [statements] = re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL)
    for login in LOGINS:
        statements, changed = re.subn(
            rf"(CREATE ROLE {login} .*PASSWORD )'\.\.\.'", rf"\1'{passwords[login]}'", statements
        )
        assert changed == 1, login
    assert "'...'" not in statements
    return statements


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the parts, the image and the secrets, and no release."""
    name, kubeconfig = f"soma-{token_hex(4)}", tmp_path_factory.mktemp("kind") / "kubeconfig"
    run("docker", "build", "--quiet", "--tag", IMAGE, "--file", "deploy/images/Dockerfile", ".")
    run("kind", "create", "cluster", "--name", name, "--kubeconfig", str(kubeconfig), "--wait", _LONG)
    try:
        run("kind", "load", "docker-image", IMAGE, "--name", name)
        made = Cluster(kubeconfig)
        passwords = {login: token_hex(16) for login in (*LOGINS, "postgres")}
        made.kubectl("create", "namespace", "parts")
        made.secret("parts", "passwords", {**passwords, "logins.sql": logins(passwords)})
        made.kubectl("apply", "--filename", str(PARTS))
        made.kubectl(
            *("wait", "deployment", "--all", "--for", "condition=Available"),
            *("--namespace", "parts", "--timeout", _LONG),
        )
        for namespace in ("soma", "clients"):
            made.kubectl("create", "namespace", namespace)
        made.kubectl("label", "namespace", "soma", "pod-security.kubernetes.io/enforce=restricted")
        made.secret("soma", "soma-postgres", {login: passwords[login] for login in LOGINS})
        yield made
    finally:
        run("kind", "export", "logs", str(ROOT / "build" / "kind"), "--name", name)
        run("kind", "delete", "cluster", "--name", name)


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> str:
    """The release, installed; where its API is."""
    values = str(values_of_release("kind"))
    cluster.helm("install", "soma", str(CHART), "--values", values, "--wait", "--timeout", _LONG)
    return f"{NAME}-api"


@pytest.fixture(scope="module")
def key(cluster: Cluster, release: str) -> str:
    """The first key, made in the toolbox by the commands of the guide."""
    del release
    toolbox = f"deployment/{NAME}-toolbox"
    cluster.kubectl("--namespace", "soma", "scale", toolbox, "--replicas=1")
    cluster.kubectl("--namespace", "soma", "rollout", "status", toolbox, "--timeout", _LONG)
    made = cluster.kubectl(
        *("--namespace", "soma", "exec", toolbox, "--"),
        *("soma", "keys", "create", "--tenant", "acme", "--role", "admin"),
    )
    cluster.kubectl("--namespace", "soma", "scale", toolbox, "--replicas=0")
    return made.strip()


@pytest.fixture
def client(cluster: Cluster, release: str, key: str) -> Iterator[httpx.Client]:
    """The API, asked with the first key."""
    with cluster.forwarded(release) as port, api_client(port, key) as client:
        eventually_now(lambda: answers(client), seconds=60)
        yield client


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_what_is_stored_is_found(client: httpx.Client) -> None:
    store(client, "The lighthouse keeper drinks tea at four")

    assert found(client, "when does the keeper drink tea?") == ["The lighthouse keeper drinks tea at four"]


def test_those_who_may_call_the_api_can_and_others_cannot(cluster: Cluster, release: str) -> None:
    host = f"{release}.soma.svc"

    assert cluster.opens("clients", host, 8420)
    assert not cluster.opens("parts", host, 8420)


def test_an_upgrade_and_a_rollback_lose_nothing(cluster: Cluster, release: str, key: str) -> None:
    values = str(values_of_release("kind"))
    more = ("--set", "workers.vectors.replicas=2", "--set", "api.settings.log.level=debug")

    cluster.helm("upgrade", "soma", str(CHART), "--values", values, *more, "--wait", "--timeout", _LONG)
    with cluster.forwarded(release) as port, api_client(port, key) as client:
        eventually_now(lambda: answers(client), seconds=60)
        store(client, "The ferry leaves at nine")
    cluster.helm("rollback", "soma", "1", "--wait", "--timeout", _LONG)

    with cluster.forwarded(release) as port, api_client(port, key) as client:
        eventually_now(lambda: answers(client), seconds=60)
        assert found(client, "when does the ferry leave?")[0] == "The ferry leaves at nine"
    replicas = cluster.kubectl(
        *("get", "deployment", f"{NAME}-worker-vectors", "--namespace", "soma"),
        *("--output", "jsonpath={.spec.replicas}"),
    )
    assert replicas == "1"
