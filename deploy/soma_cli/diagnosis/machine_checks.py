"""Looks at this machine: settings, and the folder of the local stack."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_IMODE

from soma_cli.diagnosis import judgements
from soma_cli.diagnosis.findings import Health, Verdict, ok
from soma_cli.settings import settings_faults
from soma_client.client_file import client_file_of

_OTHERS = 0o077


def settings(environment: Mapping[str, str]) -> Sequence[Verdict]:
    """Say for which processes these variables make no sense."""
    faults = {process: fault for process, fault in settings_faults(environment).items() if fault is not None}
    return [
        Verdict(Health.FAILED, fault, "correct it; `soma config docs` lists every setting", process.value)
        for process, fault in faults.items()
    ] or [ok("those of every process are in order")]


def room(home: Path) -> Sequence[Verdict]:
    """Say how much room the local stack has."""
    usage = shutil.disk_usage(home)
    return [judgements.room(str(home), usage.total, usage.free)]


def folders(home: Path) -> Sequence[Verdict]:
    """Say whether the stack may write to its folder, and nobody else read its secrets."""
    if not os.access(home, os.W_OK | os.X_OK):
        return [Verdict(Health.FAILED, "we may not write to it", "run as the user who owns it")]
    return list(_open_to_others(home)) or [ok("ours to write, its secrets ours alone to read")]


def _open_to_others(home: Path) -> Iterator[Verdict]:
    secrets = home / "secrets"
    for path in (client_file_of(home), secrets, *sorted(secrets.glob("*"))):
        if path.exists() and (mode := S_IMODE(path.stat().st_mode)) & _OTHERS:
            yield Verdict(
                Health.FAILED,
                f"others may use {path.name} (mode {mode:o}), which holds secrets",
                f"run `chmod go= '{path}'`",
            )
