"""The scan for secrets finds them, and its exceptions hide no file. `make deploy-check` runs it."""

import json
import re
import subprocess
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from chart.checking_tools import gitleaks

CONFIG = Path(__file__).parents[2] / ".gitleaks.toml"
# Looks as if somebody had drawn it, and is the same each time.
DRAWN = sha256(b"made up").hexdigest()
EXCEPTIONS: list[dict[str, Any]] = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["allowlists"]

pytestmark = pytest.mark.chart


def found_in(folder: Path) -> set[str]:
    report = folder.parent / "report.json"
    ran = subprocess.run(
        [gitleaks(), "dir", "--no-banner", f"--config={CONFIG}", f"--report-path={report}", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {each["File"] for each in json.loads(report.read_text(encoding="utf-8"))}
    assert ran.returncode == (1 if found else 0), ran.stderr
    return found


@pytest.mark.parametrize(
    "line",
    [
        f"SOMA_API_KEY=soma_{DRAWN[:16]}_{DRAWN}",
        f"sasl_password = '{DRAWN[:48]}'",
        f"QDRANT_KEY: {DRAWN[:48]}",
        "-----BEGIN PRIVATE KEY-----\n" + DRAWN * 2 + "\n-----END PRIVATE KEY-----",
    ],
)
def test_a_secret_is_found(line: str, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "settings.txt").write_text(line, encoding="utf-8")

    assert found_in(folder) == {"settings.txt"}


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda each: each["description"])
def test_an_exception_is_one_text_and_hides_no_file(exception: dict[str, Any]) -> None:
    assert exception.keys() == {"description", "regexes"}
    assert all(re.fullmatch(r"\^.{12,}\$", regex) for regex in exception["regexes"])
