"""`soma support-bundle`: what is in the archive, and what never is."""

import json
import tarfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from soma_cli.settings import PROCESSES
from soma_client.client_file import read_client_file
from soma_command import Soma
from soma_schemas.configuration import variable_name
from soma_up import Up


def contents(path: Path) -> dict[str, bytes]:
    """The files of an archive, without the folder that they are in."""
    found = {}
    with tarfile.open(path) as archive:
        for entry in archive.getmembers():
            file = archive.extractfile(entry)
            assert file is not None
            found[entry.name.partition("/")[2]] = file.read()
    return found


def secret_settings() -> list[str]:
    """The variable of every setting that is a secret, of any process."""

    def within(part: type[BaseModel], path: tuple[str, ...]) -> set[str]:
        found: set[str] = set()
        for name, field in part.model_fields.items():
            kind: Any = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= within(kind, (*path, name))
            elif "SecretStr" in str(kind):
                found.add(variable_name((*path, name)))
        return found

    return sorted(set().union(*(within(process, ()) for process in PROCESSES.values())))


def test_the_archive_holds_facts_and_says_which(at_home: Soma, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"

    ran = at_home("support-bundle", str(path), "--json")

    assert ran.code == 0, ran.err
    found = contents(path)
    manifest = json.loads(found.pop("manifest.json"))
    assert {each["name"]: each["bytes"] for each in manifest["files"] if each["error"] is None} == {
        name: len(content) for name, content in found.items()
    }
    assert {each["name"] for each in manifest["files"]} == set(found)
    assert manifest == json.loads(ran.out)
    assert set(found) >= {
        "versions.json", "settings.json", "doctor.json", "topics.json", "lag.json", "database.json",
        "metrics/api.txt", "metrics/api-worker.txt", "metrics/worker.txt", "metrics/retention.txt",
        "metrics/lag.txt",
        "logs/api.log", "logs/worker.log", "logs/lag.log",
    }  # fmt: skip
    assert json.loads(found["topics.json"])["memory.events"]["configuration"]["retention.ms"] == "2592000000"
    assert {"memories", "dead_letters"} <= {
        each["table"] for each in json.loads(found["database.json"])["tables"]
    }
    assert b"soma_events_settled_total" in found["metrics/worker.txt"]
    assert {each["check"] for each in json.loads(found["doctor.json"])["findings"]} >= {"brokers", "database"}


def test_only_its_owner_can_read_it_and_nothing_is_replaced(
    soma: Soma, operator: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "bundle.tar.gz"

    first = soma("support-bundle", str(path), environment=operator)
    before = path.read_bytes()
    second = soma("support-bundle", str(path), environment=operator)

    assert first.code == 0, first.err
    assert path.stat().st_mode & 0o777 == 0o600
    assert second.code == 2
    assert "is there already" in second.err
    assert path.read_bytes() == before


def test_no_secret_and_no_content_of_a_running_stack_is_in_it(
    at_home: Soma, stack: Up, tmp_path: Path
) -> None:
    content = [f"canary{uuid4().hex}" for _ in range(4)]
    stored = at_home(
        "store",
        content[0],
        "-n",
        f"bundle/{content[1]}",
        "--key",
        content[2],
        "--tag",
        content[3],
        "--wait",
        "30",
    )
    assert stored.code == 0, stored.err
    assert at_home("search", content[0]).code == 0
    local = read_client_file(stack.home)
    assert local is not None
    secrets = [path.read_text().strip() for path in (stack.home / "secrets").iterdir()]
    path = tmp_path / "bundle.tar.gz"

    assert at_home("support-bundle", str(path)).code == 0

    whole = b"".join(contents(path).values())
    assert len(secrets) > 3
    assert [each for each in [*content, *secrets, local.api_key] if each.encode() in whole] == []


BY_PASSWORD = {"SOMA_KAFKA__SASL_USERNAME": "somebody", "SOMA_REGISTRY__USERNAME": "somebody"}
BY_TOKEN = {
    "SOMA_KAFKA__OAUTH_TOKEN_URL": "https://127.0.0.1:9/token",
    "SOMA_KAFKA__OAUTH_CLIENT_ID": "somebody",
}


@pytest.mark.parametrize("wrong", [{}, {"SOMA_API__PORT": "many"}])
@pytest.mark.parametrize(
    ("login", "others"),
    [
        (BY_PASSWORD, {"SOMA_REGISTRY__TOKEN", "SOMA_KAFKA__OAUTH_CLIENT_SECRET"}),
        (BY_TOKEN, {"SOMA_REGISTRY__PASSWORD", "SOMA_KAFKA__SASL_PASSWORD"}),
    ],
    ids=["passwords", "tokens"],
)
def test_no_secret_of_any_setting_is_in_it(
    soma: Soma, tmp_path: Path, wrong: dict[str, str], login: dict[str, str], others: set[str]
) -> None:
    # Brokers and registry take either, and not both.
    canaries = {name: f"canary{uuid4().hex}" for name in set(secret_settings()) - others}
    assert len(canaries) >= 6
    places = {
        "SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "SOMA_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "SOMA_REGISTRY__URL": "http://127.0.0.1:9",
        "SOMA_POSTGRES__PORT": "9",
        "SOMA_VECTORS__URL": "http://127.0.0.1:9",
        "SOMA_URL": "http://127.0.0.1:9",
        "SOMA_API_KEY": f"canary{uuid4().hex}",
    }
    path = tmp_path / "bundle.tar.gz"

    given = canaries | {
        "SOMA_TRACING__HEADERS": f"api-key={canaries['SOMA_TRACING__HEADERS']}",
        "SOMA_API__RATE_LIMIT_STORE": f"valkey://:{canaries['SOMA_API__RATE_LIMIT_STORE']}@127.0.0.1:9",
    }

    ran = soma("support-bundle", str(path), environment={**given, **places, **login, **wrong})

    assert ran.code == 0, ran.err
    found = contents(path)
    whole = b"".join(found.values()) + ran.out.encode() + ran.err.encode()
    assert [name for name, canary in canaries.items() if canary.encode() in whole] == []
    assert places["SOMA_API_KEY"].encode() not in whole
    shown = json.loads(found["settings.json"])["operator"]
    assert shown["SOMA_POSTGRES__PASSWORD"]["value"] == "**********"
    missing = {each["name"] for each in json.loads(found["manifest.json"])["files"] if each["error"]}
    assert missing == {"topics.json", "database.json", "metrics/api.txt"}
