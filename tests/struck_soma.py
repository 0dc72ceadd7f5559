"""`soma` as a process that something befalls: `python -m struck_soma WHAT ARGUMENTS...`.

WHAT is one of
    before MODULE FUNCTION   it is killed right before the first call
    after MODULE FUNCTION    it is killed right after the first call
    full FILE                no disk has room for as long as this file is there
    nothing
    newer                    its rules of what text is indexed are one version ahead
"""

import importlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """What a run left behind."""

    code: int
    out: str
    err: str


def started(home: Path, what: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Run `soma` beside the stack of a home."""
    return subprocess.Popen(
        [sys.executable, "-m", "struck_soma", what, *arguments],
        env=os.environ | {"SOMA_HOME": str(home), "PYTHONPATH": str(Path(__file__).parent)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Ended:
    """Wait until it has ended."""
    out, err = process.communicate()
    return Ended(process.returncode, out, err)


def main() -> None:
    """Arrange what is to happen, and run `soma`."""
    match sys.argv[1].split():
        case ["newer"]:
            text = importlib.import_module("soma_schemas.vectors.text")
            text.INDEXING_VERSION += 1  # type: ignore[attr-defined]  # whatever was imported
        case ["full", file]:
            _fill(Path(file))
        case [when, module, name]:
            _kill(when, module, name)
    from soma_cli.main import run  # noqa: PLC0415  # not before the rules are others

    sys.exit(run(sys.argv[2:], os.environ))


def _fill(file: Path) -> None:
    usage = shutil.disk_usage

    def disk_usage(path: Any) -> Any:
        return usage(path)._replace(free=0) if file.exists() else usage(path)

    shutil.disk_usage = disk_usage


def _kill(when: str, module: str, name: str) -> None:
    owner = importlib.import_module(module)
    *within, last = name.split(".")
    for each in within:
        owner = getattr(owner, each)
    original: Callable[..., Any] = getattr(owner, last)

    @wraps(original)
    def struck(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, last, struck)


if __name__ == "__main__":
    main()
