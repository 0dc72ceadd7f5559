"""The pages about backups, walked on a stack whose tables, and once its index, are thrown away half-way."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pages import Step, shows, steps
from soma_command import Ran, Soma
from soma_schemas.clock import SystemClock
from soma_up import soma_up
from waiting import eventually_now

pytestmark = pytest.mark.long

DOCS = Path(__file__).parents[3] / "docs"
LATER = 40
A_TIME = "2026-03-02T09:15:00Z"


class Walk:
    """Somebody who types what a page says; `soma up` runs in another terminal."""

    def __init__(self, home: Path, soma: Soma) -> None:
        self._home = home
        self._soma = soma
        self._terminal = ExitStack()

    def up(self) -> None:
        """Start the stack."""
        self._terminal.enter_context(soma_up(self._home))

    def stop(self) -> None:
        """Press Ctrl-C there."""
        self._terminal.close()

    def type(self, step: Step) -> Ran:
        """Do what a block says."""
        # A page can only name a time that is over, and its reader's backup is older than that.
        words = shlex.split(step.text.replace(A_TIME, SystemClock().now().isoformat()))
        if words[:2] == ["soma", "up"]:
            self.up()
            return Ran(0, "", "")
        if words[0] == "soma":
            return self._soma(*words[1:])
        ran = subprocess.run(
            ["bash", "-e", "-c", step.text],
            env=os.environ | {"SOMA_HOME": str(self._home)},
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of the stack."""
    return tmp_path / "home"


@pytest.fixture
def soma(home: Path, capfd: pytest.CaptureFixture[str]) -> Soma:
    """`soma` as somebody types it beside the stack."""
    return Soma(home, capfd)


@pytest.fixture
def walk(home: Path, soma: Soma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    """A stack that runs, and a folder to work in."""
    monkeypatch.chdir(tmp_path)
    walking = Walk(home, soma)
    walking.up()
    yield walking
    walking.stop()


def store(soma: Soma, name: str, count: int) -> None:
    lines = "".join(
        f'{{"namespace": "notes", "key": "{name} {n}", "text": "Note {n}."}}\n' for n in range(count)
    )
    Path(f"{name}.jsonl").write_text(lines, encoding="utf-8")
    assert soma("import", f"{name}.jsonl").code == 0
    eventually_now(
        lambda: soma("get", "-n", "notes", "--key", f"{name} {count - 1}").code, lambda code: code == 0
    )


@pytest.mark.parametrize(("page", "index_too"), [("guides/backup.md", False), ("runbooks/restore.md", True)])
def test_what_a_page_says_brings_everything_back(
    page: str,
    index_too: bool,  # noqa: FBT001  # how pytest passes a parameter
    walk: Walk,
    soma: Soma,
    home: Path,
) -> None:
    store(soma, "before", 60)
    if page.startswith("runbooks"):
        assert soma("backup", "-o", "tables.zip").code == 0
    lost = False
    for step in steps((DOCS / page).read_text(encoding="utf-8")):
        if step.language == "sql":
            continue  # nobody types it into a shell
        if step.text.startswith("mv "):
            store(soma, "after", LATER)
            assert soma("delete", "-n", "notes", "--key", "before 0").code == 0
            walk.stop()
            if index_too:
                shutil.rmtree(home / "vectors")
            lost = True
        if lost and not step.text.startswith(("mv ", "soma restore", "soma up")):
            # The workers catch up meanwhile.
            ran = eventually_now(
                lambda step=step: walk.type(step),  # type: ignore[misc]  # mypy infers no default
                lambda ran, step=step: ran.code == 0 and not missing(step, ran),  # type: ignore[misc]
                seconds=60,
            )
        else:
            ran = walk.type(step)
        assert ran.code == 0, (step.text, ran)
        assert missing(step, ran) == [], (step.text, ran)

    assert lost
    assert soma("get", "-n", "notes", "--key", "before 0").code == 1
    for name in ("before 59", f"after {LATER - 1}"):
        assert soma("get", "-n", "notes", "--key", name).code == 0
    assert len(soma("list", "-n", "notes", "--limit", "200").out.splitlines()) >= 60 - 1 + LATER


def missing(step: Step, ran: Ran) -> list[str]:
    return [line for line in step.seen if not shows(line, ran.out.splitlines())]
