"""The pipelines run commands that exist, with actions that cannot change under them, and with few rights."""

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart.checking_tools import actionlint

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROGRAMS = Path(sysconfig.get_path("scripts"))


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{file.stem}/{name}", job)
        for file in FILES
        for name, job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].items()
    ]


def steps() -> list[tuple[str, dict[str, Any]]]:
    return [(where, step) for where, job in jobs() for step in job["steps"]]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_there_is_one_for_changes_one_for_the_night_and_one_for_releases() -> None:
    assert {file.stem for file in FILES} == {"dashboards", "nightly", "pull-request", "release"}


def test_every_make_target_that_a_pipeline_runs_exists() -> None:
    called = [
        (where, target)
        for where, step in steps()
        for command in re.findall(r"^make ((?:[a-z-]+ ?)+)", step.get("run", ""), re.MULTILINE)
        for target in command.split()
    ]

    assert len(called) > 10
    assert [(where, target) for where, target in called if target not in targets()] == []


def test_every_folder_of_tests_that_needs_a_stack_is_run_for_a_change() -> None:
    [job] = [job for where, job in jobs() if where == "pull-request/integration"]
    parts: list[str] = job["strategy"]["matrix"]["part"]
    run = {folder for part in parts for folder in part.split() if not folder.startswith("--")}
    folders = {f"tests/{name}" for name in ("integration", "end_to_end", "chaos", "fuzz")}

    assert folders <= run
    [rest] = [part for part in parts if part.split()[0] == "tests/integration"]
    left_out = set(re.findall(r"--ignore=(\S+)", rest))
    assert left_out == {folder for folder in run if folder.startswith("tests/integration/")}
    assert [folder for folder in run if not (ROOT / folder).is_dir()] == []


def test_an_action_is_named_by_its_commit_with_its_version_beside() -> None:
    used = [
        line.strip()
        for file in FILES
        for line in file.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]

    assert len(used) > 10
    assert [
        line for line in used if not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)
    ] == []


def test_one_action_has_one_version_everywhere() -> None:
    used = {
        match
        for file in FILES
        for match in re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40})", file.read_text(encoding="utf-8"))
    }

    assert len({name for name, _ in used}) == len(used)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_pipeline_may_read_and_what_a_job_may_do_more_is_said_at_the_job(file: Path) -> None:
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


@pytest.mark.parametrize(("where", "job"), jobs(), ids=lambda each: each if isinstance(each, str) else "")
def test_a_job_ends_by_itself(where: str, job: dict[str, Any]) -> None:
    assert 0 < job["timeout-minutes"] <= 180, where


def test_nothing_that_somebody_else_writes_is_pasted_into_a_command() -> None:
    pasted = [(where, step["run"]) for where, step in steps() if "${{" in step.get("run", "")]

    assert pasted == []


def test_a_linter_for_the_security_of_pipelines_finds_nothing() -> None:
    ran = subprocess.run(
        [PROGRAMS / "zizmor", "--offline", "--quiet", ROOT / ".github" / "workflows"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("      - run: echo ${{ github.event.issue.title }}", "template-injection"),
        ("      - uses: actions/checkout@v4", "unpinned-uses"),
    ],
)
def test_the_linter_would_find_it(line: str, finding: str, tmp_path: Path) -> None:
    file = tmp_path / ".github" / "workflows" / "made-up.yml"
    file.parent.mkdir(parents=True)
    file.write_text(
        f"on: issues\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n{line}\n", encoding="utf-8"
    )

    ran = subprocess.run(
        [PROGRAMS / "zizmor", "--offline", "--quiet", file], capture_output=True, text=True, check=False
    )

    assert ran.returncode != 0
    assert finding in ran.stdout


@pytest.mark.chart
def test_a_linter_of_pipelines_finds_nothing() -> None:
    ran = subprocess.run([actionlint(), "-no-color", *FILES], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout


@pytest.mark.chart
def test_the_linter_of_pipelines_would_find_it(tmp_path: Path) -> None:
    file = tmp_path / "made-up.yml"
    file.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n"
        "      - run: echo ${{ nowhere.to_go }}\n",
        encoding="utf-8",
    )

    ran = subprocess.run([actionlint(), "-no-color", file], capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert 'undefined variable "nowhere"' in ran.stdout
