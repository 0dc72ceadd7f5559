"""What `soma env` prints leads every program that is started from the same shell to the local stack."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from soma_cli.client_file import write_client_file
from soma_client.client_file import ClientFile
from soma_command import Soma
from soma_schemas.configuration import load
from soma_schemas.settings import PublishingSettings

LOCAL = ClientFile(
    url="http://127.0.0.1:8421",
    api_key="it's; a `key`",
    tenant="local",
    environment={
        "SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:20001",
        "SOMA_REGISTRY__URL": "http://127.0.0.1:20003",
        "SOMA_POSTGRES__PASSWORD": "secret",
    },
    publishing={
        "SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:20001",
        "SOMA_REGISTRY__URL": "http://127.0.0.1:20003",
    },
)
VARIABLES = {
    "SOMA_URL": "http://127.0.0.1:8421",
    "SOMA_API_KEY": "it's; a `key`",
    "SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:20001",
    "SOMA_REGISTRY__URL": "http://127.0.0.1:20003",
}


@pytest.fixture
def running(home: Path) -> Path:
    """The home of a stack that runs."""
    write_client_file(home, LOCAL)
    return home


def test_a_shell_that_evaluates_it_has_the_variables_whatever_they_hold(running: Path) -> None:
    soma = f"{sys.executable} -m soma_cli.main"
    told = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    before = {"PATH": os.environ["PATH"], "SOMA_HOME": str(running)}

    ran = subprocess.run(
        ["bash", "-c", f'eval "$({soma} env)"; {told}'],
        env=before,
        capture_output=True,
        text=True,
        check=True,
    )

    after = json.loads(ran.stdout)
    assert {name: after[name] for name in after if name.startswith("SOMA_")} == VARIABLES | {
        "SOMA_HOME": str(running)
    }


def test_programs_get_the_same(running: Path, soma: Soma) -> None:
    del running

    assert json.loads(soma("env", "--json").out) == {"variables": VARIABLES}


def test_a_producer_takes_them_as_its_settings() -> None:
    settings = load(PublishingSettings, environment=VARIABLES).settings

    assert settings.kafka.bootstrap_servers == "127.0.0.1:20001"
    assert settings.registry.url == "http://127.0.0.1:20003"


def test_without_a_stack_there_is_nothing_to_evaluate(soma: Soma) -> None:
    ran = soma("env")

    assert (ran.code, ran.out) == (2, "")
    assert "hint: start one with `soma up`" in ran.err
