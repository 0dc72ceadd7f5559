"""Debian's PostgreSQL, which has TLS: a server with the certificate and the rules that a test wants."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from own_processes import a_free_port
from server_account import hand_over, run_as_server, server_folder
from soma_cli.local.certificates import Authority, Issued

PASSWORD = "a password of the superuser"
_VERSIONS = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class DebianPostgres:
    """A server that runs.

    Attributes:
        port: On 127.0.0.1.
        user: Its superuser, who has `PASSWORD`.
    """

    port: int
    user: str
    folder: Path

    def show(self, issued: Issued) -> None:
        """Have it show another certificate from now on."""
        _give(issued, self.folder)
        with psycopg.connect(self.plain(), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")

    def plain(self) -> str:
        """Return how to reach it past TLS, by its socket."""
        return f"host={self.folder} port={self.port} user={self.user} password='{PASSWORD}' dbname=postgres"


@contextmanager
def debian_postgres(
    issued: Issued,
    clients: Authority,
    rules: Sequence[str] = ("hostssl all all all scram-sha-256",),
) -> Iterator[DebianPostgres]:
    """Run a server until the block ends.

    Args:
        issued: Its certificate.
        clients: Who signs certificates of clients.
        rules: Of its pg_hba.conf, for what comes over TCP.
    """
    with server_folder() as folder, _running(folder, issued, clients, rules) as server:
        yield server


@contextmanager
def _running(
    folder: Path, issued: Issued, clients: Authority, rules: Sequence[str]
) -> Iterator[DebianPostgres]:
    programs = max(_VERSIONS.glob("*/bin"), default=None)
    assert programs is not None, "this test needs Debian's package `postgresql`, which .ci/run installs"
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o644)

    def run(program: str, *arguments: str) -> None:
        run_as_server(folder, str(programs / program), *arguments)

    run("initdb", "-D", "data", "-U", "postgres", "--pwfile=password", "--auth=scram-sha-256", "--locale=C")
    shutil.copy(clients.file, folder / "clients.pem")
    (folder / "clients.pem").chmod(0o644)
    _give(issued, folder)
    lines = ["local all all scram-sha-256", *rules]
    (folder / "data" / "pg_hba.conf").write_text("".join(f"{line}\n" for line in lines))
    port = a_free_port()
    settings = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(folder),
        "ssl": "on",
        "ssl_cert_file": str(folder / "server.pem"),
        "ssl_key_file": str(folder / "server.key"),
        "ssl_ca_file": str(folder / "clients.pem"),
        "lc_messages": "C",
        "fsync": "off",
    }
    (folder / "data" / "postgresql.auto.conf").write_text(
        "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    )
    run("pg_ctl", "-D", "data", "-w", "-l", "log", "start")
    try:
        yield DebianPostgres(port, "postgres", folder)
    finally:
        run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")


def _give(issued: Issued, folder: Path) -> None:
    for source, name in ((issued.certificate, "server.pem"), (issued.key, "server.key")):
        shutil.copy(source, folder / name)
        (folder / name).chmod(0o600)
        hand_over(folder / name)
