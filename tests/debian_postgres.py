"""Debian's PostgreSQL, which has TLS: a server with the certificate and the rules that a test wants."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from own_processes import a_free_port
from soma_cli.local.certificates import Authority, Issued

PASSWORD = "a password of the superuser"
_VERSIONS = Path("/usr/lib/postgresql")
_ACCOUNT = "nobody"


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
    folder: Path,
    issued: Issued,
    clients: Authority,
    rules: Sequence[str] = ("hostssl all all all scram-sha-256",),
) -> Iterator[DebianPostgres]:
    """Run a server until the block ends.

    Args:
        folder: Empty.
        issued: Its certificate.
        clients: Who signs certificates of clients.
        rules: Of its pg_hba.conf, for what comes over TCP.
    """
    programs = max(_VERSIONS.glob("*/bin"), default=None)
    assert programs is not None, "this test needs Debian's package `postgresql`, which .ci/run installs"
    account = pwd.getpwnam(_ACCOUNT) if os.geteuid() == 0 else None
    for each in (folder, *folder.parents):
        if each.owner() == pwd.getpwuid(os.geteuid()).pw_name and each != Path("/tmp"):  # noqa: S108  # not into it
            each.chmod(0o755)
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o644)

    def run(*command: str) -> None:
        options = (
            {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        )
        subprocess.run(  # type: ignore[call-overload]  # who runs it is the same in both
            [str(programs / command[0]), *command[1:]],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
            **options,
        )

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
        if os.geteuid() == 0:
            account = pwd.getpwnam(_ACCOUNT)
            os.chown(folder / name, account.pw_uid, account.pw_gid)
