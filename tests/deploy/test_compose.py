"""docker-compose.yml says what this version understands."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from canned_api import CannedApi
from compose_rules import Compose, faults, files_given, runs_on
from recording_door import RecordingDoor, proxy_everywhere
from soma_api.settings import ApiSettings
from soma_cli.main import run
from soma_cli.settings import KNOWN, OperatorSettings
from soma_schemas.configuration import load
from soma_schemas.erasure_receipts import new_signing_key
from soma_schemas.settings import ProcessSettings
from soma_streams.lag.lag_settings import LagCollectorSettings
from soma_streams.settings import PostgresWorkerSettings, RetentionWorkerSettings, VectorWorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

PROCESSES: dict[str, type[ProcessSettings]] = {
    "prepare": OperatorSettings,
    "operator": OperatorSettings,
    "worker-postgres": PostgresWorkerSettings,
    "worker-vectors": VectorWorkerSettings,
    "worker-retention": RetentionWorkerSettings,
    "lag": LagCollectorSettings,
    "api": ApiSettings,
}
LONG_RUNNING = [name for name in PROCESSES if runs_on(SERVICES[name])]


@cache
def secrets_of(service: str) -> Path:
    """A folder with the files that a service is given."""
    folder = Path(tempfile.mkdtemp())
    for file in files_given(SERVICES[service]):
        content = new_signing_key()[0] if file == "erasure_signing_key" else "c2VjcmV0" * 8
        (folder / file).write_text(content, encoding="ascii")
    return folder


def environment_of(service: str) -> dict[str, str]:
    return {
        name: str(value).replace("/run/secrets", str(secrets_of(service)))
        for name, value in SERVICES[service]["environment"].items()
    }


def test_no_service_breaks_a_rule() -> None:
    assert faults(COMPOSE) == []


Damage = Callable[[Compose], object]

DAMAGES: dict[str, Damage] = {
    "api: no limit of cpus": lambda file: file["services"]["api"]["deploy"]["resources"]["limits"].pop(
        "cpus"
    ),
    "api: no limit of memory": lambda file: file["services"]["api"]["deploy"]["resources"]["limits"].pop(
        "memory"
    ),
    "qdrant: a folder in memory without a limit": lambda file: file["services"]["qdrant"].update(
        tmpfs=["/run"]
    ),
    "lag: its log grows without end": lambda file: file["services"]["lag"].pop("logging"),
    "api: its root file system can be written": lambda file: file["services"]["api"].pop("read_only"),
    "grant: it has capabilities": lambda file: file["services"]["grant"].update(cap_add=["CHOWN"]),
    "kafka-1: it can gain privileges": lambda file: file["services"]["kafka-1"].pop("security_opt"),
    "postgres: it does not say as which user without rights it runs": lambda file: file["services"][
        "postgres"
    ].update(user="0:0"),
    "lag: it shares with the host: network_mode": lambda file: file["services"]["lag"].update(
        network_mode="host"
    ),
    "worker-vectors: no health check": lambda file: file["services"]["worker-vectors"].pop("healthcheck"),
    "api: it waits for the health of qdrant, which nothing checks": lambda file: file["services"][
        "qdrant"
    ].pop("healthcheck"),
    "api: it waits for the end of grant, which runs on": lambda file: file["services"]["grant"].pop(
        "restart"
    ),
    "grant: it waits for prepare, which is not there": lambda file: file["services"].pop("prepare"),
    "registry: it waits for postgres only to be started": lambda file: file["services"]["registry"].update(
        depends_on={"postgres": {"condition": "service_started"}}
    ),
    "kafka-2: it is killed before it has stopped in order": lambda file: file["services"]["kafka-2"].pop(
        "stop_grace_period"
    ),
    "api: SOMA_POSTGRES__PASSWORD is not a file below /run/secrets/": lambda file: file["services"]["api"][
        "environment"
    ].update(SOMA_POSTGRES__PASSWORD="plain"),
    "api: SOMA_POSTGRES__HOST comes from the environment of whoever starts it": lambda file: file["services"][
        "api"
    ]["environment"].update(SOMA_POSTGRES__HOST="${HOST}"),
    "grafana: it reads /run/secrets/grafana_password, which it is not given": lambda file: file["services"][
        "grafana"
    ].pop("secrets"),
    "api: it is given the secret api_password, which is not declared": lambda file: file["secrets"].pop(
        "api_password"
    ),
    "api: the secret qdrant_key does not come from a file in secrets": lambda file: file["secrets"].update(
        qdrant_key={"environment": "QDRANT_KEY"}
    ),
    "api: it is given SOMA_POSTGRES__PASSWORD, but does not look there": lambda file: file["services"]["api"][
        "environment"
    ].pop("SOMA_SECRETS_DIR"),
    "lag: it looks for secrets, and is given none": lambda file: file["services"]["lag"][
        "environment"
    ].update(SOMA_SECRETS_DIR="/run/secrets"),
    "api: 8420:8420 is published beyond loopback": lambda file: file["services"]["api"].update(
        ports=["8420:8420"]
    ),
    "postgres: postgres:latest is whatever version there is": lambda file: file["services"][
        "postgres"
    ].update(image="postgres:latest"),
}


@pytest.mark.parametrize("fault", DAMAGES)
def test_a_file_that_breaks_a_rule_is_told_of(fault: str) -> None:
    damaged = deepcopy(COMPOSE)
    DAMAGES[fault](damaged)

    assert fault in faults(damaged)


def test_every_service_of_ours_is_checked_here() -> None:
    ours = {name for name, service in SERVICES.items() if "deploy/images" in str(service.get("build"))}

    assert ours == PROCESSES.keys()


@pytest.mark.parametrize("service", PROCESSES)
def test_a_service_sets_only_what_its_process_knows(service: str) -> None:
    settings = load(PROCESSES[service], environment=environment_of(service), known=KNOWN).settings

    assert settings.model_dump()["kafka"]["bootstrap_servers"] == "kafka-1:9092,kafka-2:9092,kafka-3:9092"


@pytest.mark.parametrize("service", [name for name in PROCESSES if name != "lag"])
def test_whoever_knows_the_topics_has_them_replicated(service: str) -> None:
    settings = load(PROCESSES[service], environment=environment_of(service), known=KNOWN).settings

    assert settings.model_dump()["topics"]["replication_factor"] == 3
    assert settings.model_dump()["topics"]["min_insync_replicas"] == 2


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_a_service_runs_a_command_that_there_is(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run([*SERVICES[service]["command"], "--help"], {})

    assert code == 0
    assert "Usage" in capsys.readouterr().out


def test_the_brokers_replicate_as_the_topics_are_declared() -> None:
    brokers = [
        service for service in SERVICES.values() if service.get("image", "").startswith("apache/kafka:")
    ]

    assert len(brokers) == 3
    for broker in brokers:
        assert broker["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
        assert broker["environment"]["KAFKA_MIN_INSYNC_REPLICAS"] == 2


def test_only_the_api_and_grafana_are_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"api": ["127.0.0.1:8420:8420"], "grafana": ["127.0.0.1:3000:3000"]}


def test_a_check_of_health_asks_where_the_process_listens() -> None:
    ports = {"api": ApiSettings().api.port, "lag": LagCollectorSettings().lag.port}

    for name in LONG_RUNNING:
        port = ports.get(name, PostgresWorkerSettings().worker.port)
        assert SERVICES[name]["healthcheck"]["test"][-1] == str(port)


@pytest.mark.parametrize("service", PROCESSES)
def test_a_file_with_the_name_of_a_setting_is_what_the_process_reads(service: str) -> None:
    named = {file for file in files_given(SERVICES[service]) if file.startswith("SOMA_")}

    read = load(PROCESSES[service], environment=environment_of(service), known=KNOWN).effective

    assert {one.name for one in read if one.origin == "secret"} == named


@pytest.mark.parametrize("service", PROCESSES)
def test_no_service_asks_another_through_a_proxy(service: str) -> None:
    environment = environment_of(service)
    asked = {urlsplit(value).hostname for name, value in environment.items() if name.endswith("__URL")}

    for name in ("NO_PROXY", "no_proxy"):
        assert asked <= {*environment[name].split(",")}


@pytest.mark.parametrize("service", LONG_RUNNING)
@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_check_of_health_goes_past_a_proxy(service: str, status: int, code: int) -> None:
    _, _, *options = SERVICES[service]["healthcheck"]["test"]
    with CannedApi() as api, RecordingDoor() as proxy:
        api.answers({}, status)
        here = [*options[:-1], api.url.rpartition(":")[2]]
        through = proxy_everywhere(f"http://{proxy.host_port}")

        ran = subprocess.run([sys.executable, *here], env={**os.environ, **through}, check=False)

        assert ran.returncode == code
        assert [asked.path for asked in api.asked] == ["/healthz"]
        assert proxy.asked == []


def test_the_folder_of_the_secrets_never_reaches_git_or_an_image() -> None:
    ignored = subprocess.run(["git", "check-ignore", "secrets/master_key"], cwd=ROOT, check=False)
    context = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert ignored.returncode == 0
    assert next(line for line in context if not line.startswith("#")) == "*"
    assert not any("secrets" in line for line in context if line.startswith("!"))


def test_the_script_that_makes_the_logins_is_a_shell_script() -> None:
    script = ROOT / "deploy" / "images" / "postgres-logins.sh"

    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0


def test_the_owner_can_make_the_databases_of_drills() -> None:
    script = (ROOT / "deploy" / "images" / "postgres-logins.sh").read_text(encoding="utf-8")

    (owner,) = re.findall(r"^CREATE ROLE soma_owner (.*) PASSWORD", script, re.MULTILINE)
    assert "CREATEDB" in owner.split()
