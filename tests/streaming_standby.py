"""A primary with a streaming hot standby: PostgreSQL as the local stack runs it, in folders of a test."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from own_processes import a_free_port
from soma_cli.local.postgres_programs import programs
from soma_schemas.settings import PostgresSettings
from soma_schemas.tables.migrations import migrate

_PROGRAMS = programs()
_ACCOUNT = "nobody"
_TRUST = "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"


@dataclass(frozen=True)
class Server:
    """A server that lets in whoever is on this machine."""

    port: int
    folder: Path

    def dsn(self, user: str = "postgres") -> str:
        """Return how a user logs in."""
        return f"host=127.0.0.1 port={self.port} user={user} dbname=soma"

    def settings(self, user: str) -> PostgresSettings:
        """Return how a process logs in."""
        return PostgresSettings(port=self.port, user=user, database="soma", sslmode="disable")

    def execute(self, statement: str) -> None:
        """Run a statement as the superuser."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def number(self, question: str) -> int:
        """Return the number that the superuser is told."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            found = connection.execute(question.encode()).fetchone()
            assert found is not None
            return int(found[0])

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        self._control("-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """End it at once."""
        self._control("-w", "-m", "immediate", "stop")

    def promote(self) -> None:
        """Make a primary of a standby."""
        self._control("-w", "promote")

    def start_as_standby_of_nobody(self) -> None:
        """Start a server that was stopped, as one that waits for more of the log."""
        signal = self.folder / "data" / "standby.signal"
        signal.touch()
        shutil.chown(signal, signal.parent.owner())
        self.start()

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return (self.folder / "data" / "postmaster.pid").exists()

    def _control(self, *arguments: str) -> None:
        _run(self.folder, "pg_ctl", "-D", "data", *arguments)


def _run(folder: Path, program: str, *arguments: str) -> None:
    account = pwd.getpwnam(_ACCOUNT) if os.geteuid() == 0 else None
    options = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    subprocess.run(  # type: ignore[call-overload]  # who runs it is the same in both
        [str(_PROGRAMS / program), *arguments],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        **options,
    )


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    for each in (folder, *folder.parents):
        if each.owner() == pwd.getpwuid(os.geteuid()).pw_name and each != Path("/tmp"):  # noqa: S108  # not into it
            each.chmod(0o755)
    if os.geteuid() == 0:
        account = pwd.getpwnam(_ACCOUNT)
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


@contextmanager
def _stopped_at_last(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        if server.runs:
            server.stop()


@contextmanager
def standby_of(primary: Server, parent: Path, name: str) -> Iterator[Server]:
    """Run a hot standby that follows a primary, until the block ends."""
    folder = _folder(parent, name)
    source = f"host=127.0.0.1 port={primary.port} user=postgres"
    _run(folder, "pg_basebackup", "-D", "data", "-R", "-X", "stream", "-c", "fast", "-d", source)
    with _stopped_at_last(Server(a_free_port(primary.port), folder)) as server:
        server.start()
        yield server


@contextmanager
def streaming_replication(parent: Path) -> Iterator[tuple[Server, Server]]:
    """Run a migrated primary and its hot standby until the block ends."""
    folder = _folder(parent, "primary")
    _run(folder, "initdb", "-D", "data", "-U", "postgres", "--auth=trust", "--locale=C", "-E", "UTF8")
    (folder / "data" / "pg_hba.conf").write_text(_TRUST)
    with _stopped_at_last(Server(a_free_port(), folder)) as primary:
        primary.start()
        with psycopg.connect(
            f"host=127.0.0.1 port={primary.port} user=postgres dbname=postgres", autocommit=True
        ) as admin:
            admin.execute("CREATE DATABASE soma")
        migrate(primary.dsn())
        primary.execute("CREATE ROLE soma_api LOGIN IN ROLE soma_readers")
        primary.execute("CREATE ROLE soma_worker LOGIN IN ROLE soma_sinks")
        with standby_of(primary, parent, "standby") as standby:
            yield primary, standby
