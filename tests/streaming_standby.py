"""A primary with a streaming hot standby: PostgreSQL as the local stack runs it, in folders of a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from own_processes import a_free_port
from server_account import hand_over, run_as_server, server_folder
from soma_cli.local.postgres_programs import programs
from soma_schemas.settings import PostgresSettings
from soma_schemas.tables.migrations import migrate

_PROGRAMS = programs()
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
        hand_over(signal)
        self.start()

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return (self.folder / "data" / "postmaster.pid").exists()

    def _control(self, *arguments: str) -> None:
        _run(self.folder, "pg_ctl", "-D", "data", *arguments)


def _run(folder: Path, program: str, *arguments: str) -> None:
    run_as_server(folder, str(_PROGRAMS / program), *arguments)


@contextmanager
def _stopped_at_last(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        if server.runs:
            server.stop()


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """Run a hot standby that follows a primary, until the block ends."""
    source = f"host=127.0.0.1 port={primary.port} user=postgres"
    with (
        server_folder() as folder,
        _stopped_at_last(Server(a_free_port(primary.port), folder)) as server,
    ):
        _run(folder, "pg_basebackup", "-D", "data", "-R", "-X", "stream", "-c", "fast", "-d", source)
        server.start()
        yield server


@contextmanager
def streaming_replication() -> Iterator[tuple[Server, Server]]:
    """Run a migrated primary and its hot standby until the block ends."""
    with server_folder() as folder, _stopped_at_last(Server(a_free_port(), folder)) as primary:
        _run(folder, "initdb", "-D", "data", "-U", "postgres", "--auth=trust", "--locale=C", "-E", "UTF8")
        (folder / "data" / "pg_hba.conf").write_text(_TRUST)
        primary.start()
        with psycopg.connect(
            f"host=127.0.0.1 port={primary.port} user=postgres dbname=postgres", autocommit=True
        ) as admin:
            admin.execute("CREATE DATABASE soma")
        migrate(primary.dsn())
        primary.execute("CREATE ROLE soma_api LOGIN IN ROLE soma_readers")
        primary.execute("CREATE ROLE soma_worker LOGIN IN ROLE soma_sinks")
        with standby_of(primary) as standby:
            yield primary, standby
