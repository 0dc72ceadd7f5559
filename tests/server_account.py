"""PostgreSQL refuses to run as root: tests run it as another user then, in folders that it can reach."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_ACCOUNT = "nobody"


def hand_over(path: Path) -> None:
    """Make a file or a folder the server's own."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(_ACCOUNT)
        os.chown(path, account.pw_uid, account.pw_gid)


@contextmanager
def server_folder() -> Iterator[Path]:
    """Yield a folder of the server's own; it is deleted when the block ends."""
    # Not below pytest's own folder: every run of pytest closes that to other users.
    with TemporaryDirectory(prefix="soma-server-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        hand_over(folder)
        yield folder


def run_as_server(folder: Path, *command: str) -> None:
    """Run a program of PostgreSQL in a folder, with nothing of our environment.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    account = pwd.getpwnam(_ACCOUNT) if os.geteuid() == 0 else None
    options = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    subprocess.run(  # type: ignore[call-overload]  # who runs it is the same in both
        command,
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        **options,
    )
