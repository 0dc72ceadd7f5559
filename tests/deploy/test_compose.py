"""docker-compose.yml says what this version understands."""

import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from canned_api import CannedApi
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


@cache
def a_signing_key() -> str:
    """A file that holds what the secret of this name does."""
    path = Path(tempfile.mkdtemp()) / "erasure_signing_key"
    path.write_text(new_signing_key()[0], encoding="ascii")
    return str(path)


def environment_of(service: str) -> dict[str, str]:
    environment = {name: str(value) for name, value in SERVICES[service]["environment"].items()}
    if "SOMA_ERASURE__SIGNING_KEY_FILE" in environment:
        environment["SOMA_ERASURE__SIGNING_KEY_FILE"] = a_signing_key()
    return environment


def test_a_secret_that_a_service_reads_is_handed_to_it_and_declared() -> None:
    read = {
        (name, str(value).removeprefix("/run/secrets/"))
        for name, service in SERVICES.items()
        for value in service.get("environment", {}).values()
        if str(value).startswith("/run/secrets/")
    }

    assert {secret for _, secret in read} == {"master_key", "erasure_signing_key"}
    assert all(secret in SERVICES[name]["secrets"] for name, secret in read)
    assert {secret for _, secret in read} <= COMPOSE["secrets"].keys()


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


@pytest.mark.parametrize("service", ["worker-postgres", "worker-vectors", "worker-retention", "lag", "api"])
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


@pytest.mark.parametrize("service", PROCESSES)
def test_no_service_asks_another_through_a_proxy(service: str) -> None:
    environment = environment_of(service)
    asked = {urlsplit(value).hostname for name, value in environment.items() if name.endswith("__URL")}

    for name in ("NO_PROXY", "no_proxy"):
        assert asked <= {*environment[name].split(",")}


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_check_of_the_apis_health_goes_past_a_proxy(status: int, code: int) -> None:
    _, _, *options = SERVICES["api"]["healthcheck"]["test"]
    with CannedApi() as api, RecordingDoor() as proxy:
        api.answers({}, status)
        here = [option.replace("8420", api.url.rpartition(":")[2]) for option in options]
        through = proxy_everywhere(f"http://{proxy.host_port}")

        ran = subprocess.run([sys.executable, *here], env={**os.environ, **through}, check=False)

        assert ran.returncode == code
        assert [asked.path for asked in api.asked] == ["/healthz"]
        assert proxy.asked == []


def test_no_secret_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if variable.endswith("_FILE"):
                assert str(value).startswith("/run/secrets/"), f"{name} reads {variable} from elsewhere"
            elif re.search("PASSWORD|KEY", variable):
                assert str(value).startswith("${"), f"{name} sets {variable} to a value"


def test_the_script_that_makes_the_logins_is_a_shell_script() -> None:
    script = ROOT / "deploy" / "images" / "postgres-logins.sh"

    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
