"""What the tables hold, as one transaction sees them: rows and digests, revision and watermarks."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from soma_cli.backups.manifest import StoredWatermark, TableContent
from soma_schemas.tables import half_restored

VERSION_TABLE = "alembic_version"
"""Left out of a dump: a restore writes the revision last, and nothing starts on tables without one."""

_TABLES = """
SELECT c.relname AS name, pg_table_size(c.oid) AS bytes
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.relname <> %(left_out)s
ORDER BY c.relname
"""

# How a row is written as text rests on these.
_AS_TEXT = (
    "SET LOCAL TIME ZONE 'UTC'",
    "SET LOCAL DateStyle = 'ISO, MDY'",
    "SET LOCAL IntervalStyle = 'postgres'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
)
# Sums have no order, so nothing is sorted, and one look through the table is all.
_CONTENT: LiteralString = """
SELECT count(*),
    sum(('x' || encode(substr(hash, 1, 8), 'hex'))::bit(64)::bigint::numeric),
    sum(('x' || encode(substr(hash, 9, 8), 'hex'))::bit(64)::bigint::numeric)
FROM (SELECT sha256(convert_to((rows_of.*)::text, 'UTF8')) AS hash FROM public.{table} AS rows_of) AS hashed
"""
_HALF = 2**64

_WATERMARKS = """
SELECT consumer_group AS "group", topic, partition, epoch, next_offset FROM sink_watermarks
ORDER BY consumer_group, topic, partition
"""


class TableSize(NamedTuple):
    """A table, and how many bytes it takes on the server's disk."""

    name: str
    bytes: int


class Fullness(Enum):
    """What a database holds of ours."""

    EMPTY = auto()
    HALF_RESTORED = auto()
    FULL = auto()


def fullness(connection: psycopg.Connection[Any]) -> Fullness:
    """Say what a database holds: pure looking."""
    if half_restored(connection):
        return Fullness.HALF_RESTORED
    found = connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public' LIMIT 1")
    return Fullness.FULL if found.rowcount else Fullness.EMPTY


def table_sizes(connection: psycopg.Connection[Any]) -> list[TableSize]:
    """Return the tables that a backup is of, partitions each by itself."""
    with connection.cursor(row_factory=class_row(TableSize)) as cursor:
        return cursor.execute(_TABLES, {"left_out": VERSION_TABLE}).fetchall()


def table_contents(
    connection: psycopg.Connection[Any], tables: list[TableSize], advance: Callable[[int], None]
) -> dict[str, TableContent]:
    """Return what tables hold.

    Args:
        connection: In a transaction, whose settings are changed until its end.
        tables: Which.
        advance: Hears of every further byte of theirs.
    """
    for setting in _AS_TEXT:
        connection.execute(setting)
    contents = {}
    for table in tables:
        found = connection.execute(sql.SQL(_CONTENT).format(table=sql.Identifier(table.name))).fetchone()
        assert found is not None  # noqa: S101  # for the type checker: it counts
        rows, *sums = found
        contents[table.name] = TableContent(
            rows=rows, digest="".join(f"{int(each or 0) % _HALF:016x}" for each in sums)
        )
        advance(table.bytes)
    return contents


def stored_watermarks(connection: psycopg.Connection[Any]) -> list[StoredWatermark]:
    """Return how far each consumer group has come."""
    with connection.cursor(row_factory=class_row(StoredWatermark)) as cursor:
        return cursor.execute(_WATERMARKS).fetchall()
