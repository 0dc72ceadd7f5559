"""The images are made as a linter of Dockerfiles wants it, and run as nobody in particular."""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = DEPLOY / "images" / "Dockerfile"
FOR_BACKUPS = DEPLOY / "images" / "backup.Dockerfile"
LABELS = [
    f"--require-label=org.opencontainers.image.{label}"
    for label in ("title:text", "description:text", "licenses:spdx")
]
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"


def findings(file: Path) -> str:
    ran = subprocess.run(
        [HADOLINT, "--no-color", "--strict-labels", *LABELS, file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == (1 if ran.stdout else 0), ran.stderr
    return ran.stdout


@pytest.mark.parametrize("file", [DOCKERFILE, FOR_BACKUPS], ids=lambda file: file.name)
def test_a_linter_finds_nothing(file: Path) -> None:
    assert findings(file) == ""


@pytest.mark.parametrize(
    ("line", "rule"),
    [("FROM debian:latest", "DL3007"), ("RUN sudo true", "DL3004"), ("RUN cd /tmp && true", "DL3003")],
)
def test_the_linter_would_find_it(line: str, rule: str, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(f"FROM debian:12\n{line}\n", encoding="utf-8")

    assert rule in findings(file)


def test_the_last_stage_builds_nothing_and_runs_as_a_user_without_rights() -> None:
    last = DOCKERFILE.read_text(encoding="utf-8").split("\nFROM ")[-1]

    assert re.findall(r"^USER (\S+)", last, re.MULTILINE) == ["10001"]
    assert not re.search(r"\b(apt-get|pip install|cargo|gcc)\b", last)


def test_the_image_for_backups_has_the_programs_of_the_charts_postgres_and_runs_without_rights() -> None:
    text = FOR_BACKUPS.read_text(encoding="utf-8")
    values = yaml.safe_load(
        (DEPLOY / "helm" / "somafractalmemory" / "values.yaml").read_text(encoding="utf-8")
    )

    major = values["operators"]["cloudnativepg"]["image"].rpartition(":")[2]
    assert re.findall(r"^ARG POSTGRES_MAJOR=(\S+)", text, re.MULTILINE) == [major]
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "10001"
