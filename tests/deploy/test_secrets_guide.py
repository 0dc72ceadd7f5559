"""What docs/guides/secrets.md has people type seals secrets, opens them, and makes those of the chart."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from containers.project import typed_steps

# Needs sops and age, as the chart's own checks need Helm.
pytestmark = pytest.mark.chart

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guides/secrets.md").read_text(encoding="utf-8")
SEAL, OPEN, SEAL_FOR_CLUSTER, OPEN_FOR_CLUSTER, *_ = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
VALUES = ROOT / "deploy/helm/somafractalmemory/values-production.yaml"
EXTERNAL = ROOT / "deploy/secrets/external-secrets.yaml"


def typed(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Type something in a folder, with this environment's programs and a `kubectl` that keeps its input."""
    kubectl = folder / "bin" / "kubectl"
    kubectl.parent.mkdir(exist_ok=True)
    kubectl.write_text('#!/bin/sh\necho "$@" > applied.arguments\ncat > applied.yaml\n', encoding="utf-8")
    kubectl.chmod(0o755)
    path = f"{kubectl.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder), "SOPS_DISABLE_VERSION_CHECK": "1"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def done(text: str, folder: Path) -> None:
    ran = typed(text, folder)
    assert ran.returncode == 0, ran.stderr


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the secrets that the head of docker-compose.yml makes."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    steps = typed_steps()
    done("\n".join(steps[: steps.index("docker compose up --build --detach")]), tmp_path)
    return tmp_path


def named_by_the_chart(values: Any) -> Iterator[tuple[str, str]]:
    """Yield each Secret and key that values name."""
    if isinstance(values, dict):
        if values.keys() == {"secret", "key"}:
            yield values["secret"], values["key"]
        for value in values.values():
            yield from named_by_the_chart(value)


def test_the_head_of_the_file_makes_every_secret_that_it_declares(project: Path) -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["secrets"]
    made = contents(project / "secrets")

    # The one that comes from the platform, once it runs.
    assert made.keys() == declared.keys() - {"metrics_key"}
    assert len(set(made.values())) == len(made)
    assert (project / "secrets").stat().st_mode & 0o777 == 0o700


def test_secrets_are_sealed_and_opened(project: Path) -> None:
    made = contents(project / "secrets")

    done(SEAL, project)
    sealed = "".join(contents(project / "sealed").values())
    for file in (project / "secrets").iterdir():
        file.unlink()
    done(OPEN, project)

    assert contents(project / "secrets") == made
    assert [value for value in made.values() if value.strip() in sealed] == []


def test_another_key_opens_nothing(project: Path) -> None:
    done(SEAL, project)
    (project / "age.key").unlink()
    done("age-keygen --output age.key", project)

    refused = typed("export SOPS_AGE_KEY_FILE=age.key; sops decrypt sealed/qdrant_key.json", project)

    assert refused.returncode != 0
    assert "Failed to get the data key required to decrypt the SOPS file" in refused.stderr


def test_the_secrets_of_a_cluster_are_sealed_and_opened(project: Path) -> None:
    done("age-keygen --output age.key", project)
    done(SEAL_FOR_CLUSTER, project)
    done(OPEN_FOR_CLUSTER, project)
    sealed = [*yaml.safe_load_all((project / "secrets.enc.yaml").read_text(encoding="utf-8"))]
    applied = [*yaml.safe_load_all((project / "applied.yaml").read_text(encoding="utf-8"))]

    assert (project / "applied.arguments").read_text().split() == [
        "--namespace",
        "soma",
        "apply",
        "--filename",
        "-",
    ]
    # Names can be read, values cannot.
    assert [one["metadata"] for one in sealed] == [one["metadata"] for one in applied]
    values = [value for one in sealed for value in one["stringData"].values()]
    assert [value for value in values if not value.startswith("ENC[")] == []
    assert {(one["metadata"]["name"], key) for one in applied for key in one["stringData"]} == {
        *named_by_the_chart(yaml.safe_load(VALUES.read_text(encoding="utf-8")))
    }
    opened = {one["metadata"]["name"]: one["stringData"] for one in applied}
    assert opened["soma-erasure-key"]["signing.pem"].startswith("-----BEGIN PRIVATE KEY-----\n")
    assert len({str(one) for one in opened.values()}) == len(opened)


def test_the_external_secrets_are_those_that_the_chart_names() -> None:
    store, *secrets = yaml.safe_load_all(EXTERNAL.read_text(encoding="utf-8"))
    brought = [
        (one["spec"]["target"]["name"], entry["secretKey"])
        for one in secrets
        for entry in one["spec"]["data"]
    ]

    assert sorted(brought) == sorted(
        {*named_by_the_chart(yaml.safe_load(VALUES.read_text(encoding="utf-8")))}
    )
    for one in secrets:
        assert one["kind"] == "ExternalSecret"
        assert one["spec"]["secretStoreRef"] == {"kind": store["kind"], "name": store["metadata"]["name"]}
        assert one["metadata"]["name"] == one["spec"]["target"]["name"]
        assert [entry["remoteRef"]["property"] for entry in one["spec"]["data"]] == [
            entry["secretKey"] for entry in one["spec"]["data"]
        ]
