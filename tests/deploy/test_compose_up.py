"""docker-compose.yml is started as its head says, on a Docker engine, and does what it is for.

On an engine that the tests start, the images of others are stand-ins with the same names
(`tests/containers/stand_in_images.py`). Behind Qdrant's is the embedded engine: what a Qdrant server does is
shown only where DOCKER_HOST names an engine, which pulls the real ones.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from caches import cache_folder
from compose_rules import runs_on
from conftest import Counting
from containers.engine import Engine, open_engine
from containers.project import Project, typed_steps
from containers.stand_in_images import SOMA, provide_images
from installed_api import api_client, found, store
from own_processes import a_free_port
from waiting import eventually_now

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
STARTED = {name: service for name, service in SERVICES.items() if "profiles" not in service}
SECRETS_GUIDE = re.findall(
    r"```sh\n(.*?)```", (ROOT / "docs/guides/secrets.md").read_text(encoding="utf-8"), re.DOTALL
)

_START_SECONDS = 600.0


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The engine, with every image that these tests start."""
    with open_engine(cache_folder() / "docker") as engine:
        provide_images(engine)
        yield engine


@pytest.fixture(scope="module")
def port() -> int:
    """Where the API is published: its own port may be taken on this machine."""
    return a_free_port()


@pytest.fixture(scope="module")
def project(engine: Engine, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The file, started by the commands at its head up to the first key."""
    overrides = f'services: {{api: {{ports: !override ["127.0.0.1:{port}:8420"]}}}}'
    project = Project.copied(tmp_path_factory.mktemp("project"), engine, overrides)
    try:
        steps = typed_steps()
        project.type(*steps[: steps.index("docker compose up --build --detach") + 1])
        yield project
    finally:
        project.compose("--profile", "*", "down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="module")
def client(project: Project, port: int) -> Iterator[httpx.Client]:
    """The API, asked with the key that the head of the file makes."""
    (step,) = [one for one in typed_steps() if one.endswith("--role admin")]
    key = project.type(step).strip()
    with api_client(port, key) as client:
        yield client


def wanted(service: dict[str, Any]) -> str:
    return "healthy" if runs_on(service) else "exited 0"


def is_up(project: Project) -> None:
    eventually_now(
        project.states,
        lambda states: all(states.get(name) == wanted(service) for name, service in STARTED.items()),
        seconds=_START_SECONDS,
    )


def seen_by_prometheus(project: Project) -> dict[str, str]:
    ask = ["wget", "-q", "-O", "-", "http://127.0.0.1:9090/api/v1/query?query=up"]
    series = json.loads(project.compose("exec", "prometheus", *ask))["data"]["result"]
    return {one["metric"]["job"]: one["value"][1] for one in series}


def test_every_service_is_healthy_or_has_done_its_work(project: Project, counting: Counting) -> None:
    is_up(project)

    counting("services of docker-compose.yml that run", len(STARTED))


def test_what_is_stored_is_found(client: httpx.Client) -> None:
    store(client, "The lighthouse keeper drinks tea at four")

    assert found(client, "when does the keeper drink tea?") == ["The lighthouse keeper drinks tea at four"]


def test_no_process_has_rights(project: Project) -> None:
    for name, service in STARTED.items():
        if runs_on(service):
            lines = project.compose("exec", name, "cat", "/proc/1/status").splitlines()
            status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)

            assert int(status["CapEff"], 16) == 0, name
            assert int(status["CapBnd"], 16) == 0, name
            assert status["NoNewPrivs"] == "1", name
            assert "0" not in status["Uid"].split(), name


def test_no_container_can_write_beside_its_program(project: Project) -> None:
    for name, service in STARTED.items():
        if runs_on(service):
            refused = project.compose("exec", name, "sh", "-c", "touch /opt/x /etc/x /x 2>&1 || echo refused")

            assert "refused" in refused, name
            assert refused.count("Read-only file system") == 3, refused


def test_every_container_has_its_limits(project: Project) -> None:
    limits = {
        container["Config"]["Labels"]["com.docker.compose.service"]: (
            container["HostConfig"]["Memory"],
            container["HostConfig"]["NanoCpus"],
        )
        for container in project.inspected()
    }

    assert STARTED.keys() <= limits.keys()
    assert all(memory > 0 and cpus > 0 for memory, cpus in limits.values()), limits


def test_docker_shows_no_secret(project: Project) -> None:
    secrets = {
        line.rpartition("=")[2] if path.suffix == ".properties" else line
        for path in (project.folder / "secrets").iterdir()
        for line in path.read_text().splitlines()
        if not line.startswith("-----")
    }
    shown = str(project.inspected()) + project.compose("top") + project.compose("logs", "--no-color")

    assert len(secrets) == 9
    assert [secret for secret in secrets if secret in shown] == []


def test_the_image_can_build_and_install_nothing(project: Project) -> None:
    look = "command -v pip pip3 cc gcc cargo maturin hatchling; python -c 'import hatchling' 2>&1 || true"

    said = project.engine.docker("run", "--rm", "--entrypoint", "sh", SOMA, "-c", look)

    assert "No module named 'hatchling'" in said
    assert "/" not in said.partition("Traceback")[0]


def test_the_log_is_in_the_brokers_volumes(project: Project) -> None:
    for name in ("kafka-1", "kafka-2", "kafka-3"):
        assert "memory.events-0\n" in project.compose("exec", name, "ls", "/var/lib/kafka/data")


def test_writes_go_on_while_a_broker_is_away(project: Project, client: httpx.Client) -> None:
    project.compose("kill", "kafka-2")
    try:
        store(client, "A ship came into the harbour without its second mate")

        texts = found(client, "which ship came into the harbour?")
    finally:
        project.compose("start", "kafka-2")
        is_up(project)

    assert "A ship came into the harbour without its second mate" in texts


@pytest.mark.parametrize("secret", ["api_password", "qdrant_key"])
def test_a_secret_is_replaced_as_the_guide_says(project: Project, client: httpx.Client, secret: str) -> None:
    (steps,) = [block for block in SECRETS_GUIDE if f"> secrets/{secret}\n" in block]
    before = (project.folder / "secrets" / secret).read_text()

    project.type(steps)
    is_up(project)

    assert (project.folder / "secrets" / secret).read_text() != before
    text = f"The harbour master wrote down the new {secret}"
    store(client, text)
    assert text in found(client, "what did the harbour master write down?")


def test_prometheus_sees_every_process_of_ours(project: Project) -> None:
    project.type(*[one for one in typed_steps() if "metrics_key" in one])
    project.compose("--profile", "monitoring", "up", "--detach", "--no-deps", "prometheus")

    jobs = ("soma-api", "soma-worker-postgres", "soma-worker-vectors", "soma-worker-retention", "soma-lag")

    eventually_now(
        lambda: seen_by_prometheus(project),
        lambda up: all(up.get(job) == "1" for job in jobs),
        seconds=120,
    )


def test_it_stops_in_order_and_starts_again_with_what_it_had(project: Project, client: httpx.Client) -> None:
    project.compose("--profile", "*", "stop")

    states = project.states()
    ours = {name: states[name] for name in STARTED if SERVICES[name]["image"] == SOMA}
    assert set(ours.values()) == {"exited 0"}, ours
    # 137 is SIGKILL; Java ends with 143 on SIGTERM.
    assert {states[name] for name in STARTED} <= {"exited 0", "exited 143"}, states

    project.compose("up", "--detach")
    is_up(project)
    assert "The lighthouse keeper drinks tea at four" in found(client, "when does the keeper drink tea?")
