"""A drill: a backup comes back into a database of its own, is compared there, and the database goes again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from soma_cli.backups.archive_file import Archive
from soma_cli.backups.manifest import TableContent
from soma_cli.backups.restoring import contents_of, load
from soma_cli.backups.second_database import create_database
from soma_cli.output import progress
from soma_schemas.settings import PostgresSettings

_PREFIX = "soma_drill_"
_ROWS_AT_ONCE = 5_000
_MEMORIES = "SELECT count(*) FROM memories"
_VERSIONS = "SELECT tenant, memory_id, version FROM memories ORDER BY tenant, memory_id"

_Row = tuple[str, UUID, int]


@dataclass
class Beside:
    """The memories of the drill beside those of the live database.

    Attributes:
        same: Of the same version there.
        newer: Changed since.
        added: Stored since.
        older: Of an older version there than in the backup: the live database has lost a change.
        missing: Not there, not even as deleted: the live database has lost them.
    """

    same: int = 0
    newer: int = 0
    added: int = 0
    older: int = 0
    missing: int = 0


def drill(
    archive: Archive, postgres: PostgresSettings, environment: Mapping[str, str], *, with_live: bool
) -> tuple[dict[str, TableContent], Beside | None]:
    """Restore an archive into a second database of the same server, and return what it held there.

    Args:
        archive: Was checked before.
        postgres: The live database, as its owner, who may create databases. It is read at most.
        environment: Where PATH is.
        with_live: Whether to compare with the live memories, too.

    Raises:
        BackupError: It did not come back.
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    with _second_database(postgres) as second:
        load(archive, second, environment)
        found = contents_of(second)
        return found, _beside(second, postgres) if with_live else None


@contextmanager
def _second_database(postgres: PostgresSettings) -> Iterator[PostgresSettings]:
    name = f"{_PREFIX}{uuid4().hex[:12]}"
    identifier = sql.Identifier(name)
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        create_database(connection, name)
    try:
        yield postgres.model_copy(update={"database": name})
    finally:
        with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))


def _beside(second: PostgresSettings, live: PostgresSettings) -> Beside:
    with psycopg.connect(second.conninfo()) as drilled, psycopg.connect(live.conninfo()) as connection:
        total = (drilled.execute(_MEMORIES).fetchone() or (0,))[0]
        with progress("Comparing with the live database", total) as advance:
            return compared(_versions(drilled), _versions(connection), advance)


def compared(backup: Iterator[_Row], live: Iterator[_Row], advance: Callable[[int], None]) -> Beside:
    """Compare memories by their versions: pure, and in one pass.

    Args:
        backup: In the order of tenant and id.
        live: Likewise.
        advance: Hears of each of the backup.
    """
    counts = Beside()
    ours, theirs = next(backup, None), next(live, None)
    while ours is not None or theirs is not None:
        if ours is None or (theirs is not None and theirs[:2] < ours[:2]):
            counts.added += 1
            theirs = next(live, None)
            continue
        advance(1)
        if theirs is None or ours[:2] < theirs[:2]:
            counts.missing += 1
        else:
            if theirs[2] == ours[2]:
                counts.same += 1
            elif theirs[2] > ours[2]:
                counts.newer += 1
            else:
                counts.older += 1
            theirs = next(live, None)
        ours = next(backup, None)
    return counts


def _versions(connection: psycopg.Connection[Any]) -> Iterator[_Row]:
    with connection.cursor("versions", row_factory=tuple_row) as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        yield from cursor.execute(_VERSIONS)
