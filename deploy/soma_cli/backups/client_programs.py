"""PostgreSQL's own programs that write and read dumps: where they are, and how they are run."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psycopg

from soma_cli.backups.backup_errors import BackupError
from soma_cli.backups.table_contents import VERSION_TABLE
from soma_cli.local.errors import UnsupportedPlatformError
from soma_cli.local.postgres_programs import programs
from soma_schemas.settings import PostgresSettings

_PIECE_BYTES = 1024 * 1024
_LONGEST_COMPLAINT = 300


class ClientPrograms:
    """`pg_dump` and `pg_restore` of the server's own major version.

    An older one refuses the server, and what a newer one writes an older server may not understand.

    Args:
        server_version: As `server_version_num` has it.
        environment: Where PATH is.

    Raises:
        BackupError: There are none of that version.
    """

    def __init__(self, server_version: int, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._dump = _program("pg_dump", server_version // 10_000, environment)
        self._restore = _program("pg_restore", server_version // 10_000, environment)

    def dump(self, settings: PostgresSettings, snapshot: str) -> Generator[bytes]:
        """Yield a dump in custom format, uncompressed, of what a snapshot shows.

        Raises:
            BackupError: The program failed.
        """
        arguments = [
            str(self._dump),
            "--format=custom",
            "--compress=none",
            f"--snapshot={snapshot}",
            f"--exclude-table-data=public.{VERSION_TABLE}",
        ]
        with self._run(arguments, settings, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None  # noqa: S101  # it is a pipe
            while piece := process.stdout.read(_PIECE_BYTES):
                yield piece

    def restore(self, settings: PostgresSettings, pieces: Iterable[bytes]) -> None:
        """Read a dump into an empty database, all of it or nothing.

        Raises:
            BackupError: The program failed.
        """
        arguments = [
            str(self._restore),
            f"--dbname={settings.database}",
            "--single-transaction",
            "--exit-on-error",
            "--no-owner",
        ]
        with self._run(arguments, settings, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None  # noqa: S101  # it is a pipe
            with suppress(BrokenPipeError):  # it has ended, and says why
                for piece in pieces:
                    process.stdin.write(piece)
                process.stdin.close()

    @contextmanager
    def _run(
        self,
        arguments: Sequence[str],
        settings: PostgresSettings,
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
    ) -> Iterator["subprocess.Popen[bytes]"]:
        with (
            tempfile.TemporaryFile() as complaints,
            subprocess.Popen(  # noqa: S603  # a program that was looked for
                arguments,
                stdin=stdin,
                stdout=stdout,
                stderr=complaints,
                env={**self._environment, **_login(settings)},
            ) as process,
        ):
            try:
                yield process
                code = process.wait()
            finally:
                # Ended before its pipe is closed: what it has read so far is not all.
                process.kill()
            if code != 0:
                raise BackupError(
                    f"{Path(arguments[0]).name} ended with {code}: {_complaint(complaints)}",
                    remedy="see the log of PostgreSQL",
                )


def _program(name: str, major: int, environment: Mapping[str, str]) -> Path:
    found = {}
    for path in _candidates(name, environment):
        version = _major(path)
        if version == major:
            return path
        found[str(path)] = version
    others = ", ".join(f"{path} is of {version}" for path, version in found.items())
    raise BackupError(
        f"the server is PostgreSQL {major}, and there is no {name} of that version: "
        f"{others or 'none is installed'}",
        remedy=f"install the client programs of PostgreSQL {major} (Debian: postgresql-client-{major}), and "
        "put them first on PATH",
    )


def _candidates(name: str, environment: Mapping[str, str]) -> Iterator[Path]:
    with suppress(UnsupportedPlatformError):
        yield programs() / name
    if on_path := shutil.which(name, path=environment.get("PATH", "")):
        yield Path(on_path)


def _major(path: Path) -> int | None:
    try:
        said = subprocess.run(  # noqa: S603  # a program that was looked for
            [str(path), "--version"], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return None
    version = re.search(r"\) (\d+)", said)
    return None if version is None else int(version[1])


def _login(settings: PostgresSettings) -> dict[str, str]:
    """Return a login as libpq reads it from the environment: other users see arguments."""
    parts = psycopg.conninfo.conninfo_to_dict(settings.conninfo())
    names: dict[str, Any] = {
        "host": "PGHOST",
        "port": "PGPORT",
        "dbname": "PGDATABASE",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "sslmode": "PGSSLMODE",
        "sslrootcert": "PGSSLROOTCERT",
        "sslcert": "PGSSLCERT",
        "sslkey": "PGSSLKEY",
        "connect_timeout": "PGCONNECT_TIMEOUT",
    }
    return {names[name]: str(value) for name, value in parts.items()}


def _complaint(file: IO[bytes]) -> str:
    """Return the first line that tells of an error: the lines after it may quote rows."""
    file.seek(0)
    lines = file.read().decode("utf-8", "replace").splitlines()
    first = next((line for line in lines if "error:" in line), lines[0] if lines else "it says nothing")
    return first[:_LONGEST_COMPLAINT]
