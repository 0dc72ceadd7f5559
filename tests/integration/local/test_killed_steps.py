"""A step is done again when the database, or whatever serves it there, is killed in the middle of it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

import psutil
import psycopg
import pytest

from soma_cli.local.home import Home
from soma_cli.local.postgres import Login, Postgres
from soma_cli.local.stack import _migrate
from soma_cli.local.supervision import Supervisor
from soma_cli.local.unit import PartState, Step, ignore
from soma_cli.tasks import in_thread
from soma_schemas.clock import SystemClock
from soma_schemas.tables import check_head
from soma_schemas.tables.migrations import _MIGRATION_LOCK
from waiting import eventually_so, still_running

CLOCK = SystemClock()

_WAITS_FOR_US = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory'"


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[Postgres]:
    """The database, ready and empty."""
    part = Postgres(Home(tmp_path / "home", Random()), CLOCK, ignore)
    await part.start()
    yield part
    await part.stop()


@contextmanager
def migration_held_up(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """Keep the migrator from beginning; whatever ends the server's processes lets it go."""
    connection = psycopg.connect(postgres.dsn(Login.ADMIN), dbname="soma", autocommit=True)
    connection.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
    yield connection
    connection.close()


@pytest.mark.parametrize("killed", ["server", "backend"])
async def test_tables_are_prepared_although_the_database_is_killed_meanwhile(
    postgres: Postgres, killed: str
) -> None:
    dsn = postgres.dsn(Login.OWNER)

    async def prepare() -> None:
        await in_thread(partial(_migrate, dsn))
        await postgres.grant_roles()

    tables = Step("tables", ignore, prepare, [postgres])
    supervisor = Supervisor([postgres, tables], CLOCK)
    with migration_held_up(postgres) as connection:
        keeping = asyncio.create_task(supervisor.run())
        backend = await eventually_so(lambda: connection.execute(_WAITS_FOR_US).fetchone())
        assert backend is not None
        assert postgres.pid is not None

        os.kill(postgres.pid if killed == "server" else backend[0], signal.SIGKILL)
        await supervisor.until_ready()
        keeping.cancel()

    assert tables.state is PartState.READY
    assert supervisor.restarts["tables"] == 1
    assert supervisor.restarts["postgres"] == (1 if killed == "server" else 0)
    check_head(dsn)


async def test_who_is_busy_when_the_server_is_killed_does_not_hold_up_the_next(postgres: Postgres) -> None:
    asking = asyncio.create_task(in_thread(partial(_loop_for_ever, postgres.dsn(Login.ADMIN))))
    assert postgres.pid is not None
    server = psutil.Process(postgres.pid)
    backend = await eventually_so(lambda: _busy_backend(server))
    assert backend is not None

    await postgres.kill()
    assert still_running([backend])
    await postgres.start()

    assert not still_running([backend])
    with pytest.raises(psycopg.OperationalError):
        await asking


def _loop_for_ever(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("DO $$ BEGIN LOOP END LOOP; END $$")


def _busy_backend(server: psutil.Process) -> psutil.Process | None:
    return next((one for one in server.children() if " ".join(one.cmdline()).rstrip().endswith(" DO")), None)
