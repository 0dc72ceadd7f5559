"""PostgreSQL on loopback from a wheel's programs, with the logins and databases that the platform expects."""

import os
import pwd
import shutil
import signal
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import psutil
import psycopg
import structlog
from psycopg import sql
from pydantic import SecretStr

from soma_cli.local.backing_service import BackingService
from soma_cli.local.child_process import Account, Launch
from soma_cli.local.errors import PartError, UnsupportedPlatformError
from soma_cli.local.home import LOOPBACK, Home, write_private
from soma_cli.local.postgres_programs import programs
from soma_cli.local.unit import Observer
from soma_schemas.clock import Clock
from soma_schemas.settings import PostgresSettings

_UNPRIVILEGED = "nobody"

# A failed connection has no SQLSTATE, only the server's words.
_WRONG_PASSWORD = "password authentication failed"  # noqa: S105  # a message

# What the server says when one of its own processes was killed while it started.
_PASSING = "was terminated by signal 9"

_LOOK_AGAIN_SECONDS = 0.05

log = structlog.get_logger(__name__)

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    # TCP alone: a socket's path may be too long for the kernel, and every login has a password anyhow.
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "jit": "off",
    "timezone": "UTC",
    # Some failures can be told apart by the server's text alone.
    "lc_messages": "C",
    "fsync": "on",
    "synchronous_commit": "on",
    # Statements and details quote memories, which no log may hold.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_timezone": "UTC",
    "cluster_name": "somafractalmemory",
}


class Login(StrEnum):
    """Who may log in."""

    ADMIN = "postgres"
    OWNER = "soma_owner"
    WORKER = "soma_worker"
    API = "soma_api"
    REGISTRY = "registry"


_DATABASE = dict.fromkeys(Login, "soma") | {Login.ADMIN: "postgres", Login.REGISTRY: "registry"}


class Postgres(BackingService):
    """The database server.

    Args:
        home: Where its data is.
        clock: Measures how long it takes.
        observe: Hears of its changes.
    """

    def __init__(self, home: Home, clock: Clock, observe: Observer) -> None:
        super().__init__("postgres", home, clock, observe)
        self.port = home.port("postgres")

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{LOOPBACK}:{self.port}"

    def password(self, login: str) -> str:
        """Return a login's password."""
        return self._home.secret(f"postgres-{Login(login)}")

    def dsn(self, login: str) -> str:
        """Return a login's connection URL, with its password in it: never log it."""
        database = _DATABASE[Login(login)]
        return f"postgresql://{login}:{self.password(login)}@{LOOPBACK}:{self.port}/{database}"

    def settings(self, login: str) -> PostgresSettings:
        """Return what a process of ours needs to log in."""
        return PostgresSettings(
            host=LOOPBACK,
            port=self.port,
            database=_DATABASE[Login(login)],
            user=login,
            password=SecretStr(self.password(login)),
            sslmode="disable",
        )

    async def prepare(self) -> Launch:
        """Make the cluster at the first start."""
        account = _account()
        folder = self._home.folder("postgres")
        data = folder / "data"
        if account is not None:
            os.chown(folder, account.uid, account.gid)
        if not data.exists():
            await self._initialise(folder, data, account)
        await self._end_orphans(data)
        settings = {"port": str(self.port), **_SETTINGS}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._launch(self.name, ["postgres", "-D", data.name, *options], folder, account)

    async def is_ready(self) -> bool:
        """Log in.

        Raises:
            PartError: The password in the home is not the one that the data was made with.
        """
        try:
            async with await self._admin():
                return True
        except psycopg.OperationalError as error:
            if _WRONG_PASSWORD in str(error):
                raise PartError(
                    "postgres does not accept the password in the home's secrets folder",
                    part=self.name,
                    remedy="put back the file `secrets/postgres-postgres` that belongs to this data",
                ) from error
            return False

    def is_passing(self, failure: Exception) -> bool:
        """Say whether a failed start is worth another try because its cause goes away by itself."""
        said = "\n".join(failure.last_lines) if isinstance(failure, PartError) else ""
        return super().is_passing(failure) or _PASSING in said

    async def arrange(self) -> None:
        """Make the logins and databases that are missing."""
        async with await self._admin() as connection:
            for login in Login:
                await self._ensure_login(connection, login)
            for database, owner in (("soma", Login.OWNER), ("registry", Login.REGISTRY)):
                await _ensure_database(connection, database, owner)
            await connection.execute("ALTER ROLE soma_owner CREATEROLE CREATEDB")
            await connection.execute("GRANT CONNECT ON DATABASE soma TO soma_worker, soma_api")

    async def grant_roles(self) -> None:
        """Give the logins the roles that the migrations made; call it after every migration.

        Raises:
            psycopg.errors.UndefinedObject: The database was not migrated.
        """
        async with await self._admin() as connection:
            await connection.execute("GRANT soma_sinks TO soma_worker")
            await connection.execute("GRANT soma_readers TO soma_api")

    async def _admin(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self.dsn(Login.ADMIN), autocommit=True, connect_timeout=5
        )

    async def _ensure_login(self, connection: psycopg.AsyncConnection, login: Login) -> None:
        found = await connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [login])
        if found.rowcount == 0:
            await connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        # Hashed here, so that no statement ever holds the password.
        verifier = connection.pgconn.encrypt_password(
            self.password(login).encode(), login.encode(), b"scram-sha-256"
        )
        await connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(login), sql.Literal(verifier.decode()))
        )

    async def _end_orphans(self, data: Path) -> None:
        """Take away what is left of a server that was killed.

        Whoever was in the middle of a long query notices the server's end only after that, and holds its
        shared memory until then. The lock file may be empty, or name a process id that is somebody else's
        by now.
        """
        lock = data / "postmaster.pid"
        if not lock.exists():  # the last server stopped in order
            return
        left = {str(process.pid): process for process in psutil.process_iter() if _works_in(process, data)}
        if lock.read_bytes().partition(b"\n")[0].decode("ascii", "replace") in left:
            return  # somebody runs a server here by hand: ours will say so
        for process in left.values():
            log.warning("orphan_ended", pid=process.pid)
            with suppress(psutil.NoSuchProcess):
                process.kill()
        while any(_works_in(process, data) for process in left.values()):
            await self._clock.sleep(_LOOK_AGAIN_SECONDS)
        lock.unlink(missing_ok=True)

    async def _initialise(self, folder: Path, data: Path, account: Account | None) -> None:
        # Made beside its place and moved, so that a first start that was interrupted begins anew.
        unfinished = folder / "data.unfinished"
        password_file = folder / "password"
        shutil.rmtree(unfinished, ignore_errors=True)
        write_private(password_file, self.password(Login.ADMIN) + "\n")
        if account is not None:
            os.chown(password_file, account.uid, account.gid)
        program = [
            "initdb",
            f"--pgdata={unfinished.name}",
            f"--username={Login.ADMIN}",
            f"--pwfile={password_file.name}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # The same order and the same letters on every machine.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ]
        try:
            await self.run_once(self._launch("postgres-init", program, folder, account))
        finally:
            password_file.unlink()
        unfinished.rename(data)

    def _launch(self, name: str, program: list[str], folder: Path, account: Account | None) -> Launch:
        return Launch(
            name,
            [str(programs() / program[0]), *program[1:]],
            folder,
            {"LC_ALL": "C", "TZ": "UTC"},
            log=self._home.log(name),
            pid_file=self._home.pid_file(name),
            # Disconnects everyone and shuts down cleanly; SIGTERM would wait for clients to leave.
            stop_signal=signal.SIGINT,
            account=account,
        )


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder.resolve())
    except (psutil.Error, OSError):
        return False


async def _ensure_database(connection: psycopg.AsyncConnection, database: str, owner: Login) -> None:
    found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [database])
    if found.rowcount == 0:
        names = sql.Identifier(database), sql.Identifier(owner)
        await connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))
    await connection.execute(
        sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
    )


def _account() -> Account | None:
    """Return whom the server runs as when we are root, as whom it refuses to run; None is ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise UnsupportedPlatformError(
            f"PostgreSQL does not run as root, and this machine has no user `{_UNPRIVILEGED}` to run it as",
            remedy="run as another user",
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)
