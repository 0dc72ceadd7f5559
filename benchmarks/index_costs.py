"""`python -m benchmarks.index_costs`: what each index of memories, and the history's content, cost an insert.

Copies of the tables with one index or another take the same rows in turns. The time is that of the
server's process for the connection, so that what others do on the machine counts little.
"""

import argparse
import asyncio
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from benchmarks.events import made_up_events
from benchmarks.stage import Stage, open_stage
from soma_cli.invocation import Invocation
from soma_schemas.events import MemoryStored
from soma_schemas.logs import configure_logging
from soma_schemas.settings import LogSettings

_ROWS = 40_000
_BATCH = 500
_TIME_ORDERS = ("memories_by_update", "memories_by_creation", "memories_by_occurrence")
_SOURCE = """
CREATE SCHEMA IF NOT EXISTS bench;
DROP TABLE IF EXISTS bench.source, bench.memories, bench.history;
CREATE TABLE bench.source (LIKE public.memories INCLUDING STORAGE INCLUDING GENERATED, number integer);
"""
_MEMORY = """
INSERT INTO bench.source (
    number, tenant, memory_id, version, deleted, deleted_version, updated_at, created_at, occurred_at,
    access_count, recent_event_ids, namespace, key, kind, text, payload, tags, importance, subject,
    expires_at, actor
) VALUES (%s, %s, %s, %s, false, 0, %s, %s, %s, 0, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s, %s)
"""
_HISTORY = """
INSERT INTO bench.history (
    partition, version, logged_at, occurred_at, tenant, memory_id, event_id, event_type, namespace, actor,
    outcome, content
)
SELECT
    0, version, updated_at, occurred_at, tenant, memory_id, recent_event_ids[1], 'MemoryStored', namespace,
    actor, 'applied', {content}
FROM bench.source WHERE number >= %s AND number < %s
"""
_MEMORIES = "INSERT INTO bench.memories SELECT {columns} FROM bench.source WHERE number >= %s AND number < %s"
_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'memories'
"""
_COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = 'memories' ORDER BY ordinal_position
"""
_CONTENT = """jsonb_build_object(
    'key', key, 'kind', kind, 'text', text, 'payload', payload, 'tags', tags, 'importance', importance,
    'subject', subject, 'expires_at', expires_at
)"""


def main() -> None:
    """Measure, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index_costs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=_ROWS)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/benchmarks"), help="keeps the stack's data"
    )
    arguments = parser.parse_args()
    configure_logging(LogSettings(level="error"))
    asyncio.run(_measure(arguments.folder.resolve(), arguments.rounds, arguments.rows))


async def _measure(folder: Path, rounds: int, rows: int) -> None:
    async with open_stage(folder, Invocation(os.environ).cache) as stage:
        await asyncio.to_thread(_compare, stage, rounds, rows)


def _compare(stage: Stage, rounds: int, rows: int) -> None:
    with psycopg.connect(stage.dsn(), autocommit=True) as connection:
        _fill_source(connection, rows)
        indexes: dict[str, str] = dict(connection.execute(_INDEXES).fetchall())
        columns = [sql.Identifier(name) for (name,) in connection.execute(_COLUMNS).fetchall()]
        memories = sql.SQL(_MEMORIES).format(columns=sql.SQL(", ").join(columns))
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, wanted in _variants(list(indexes)):
                _make_memories(connection, [indexes[each] for each in wanted])
                found.setdefault(name, []).append(_microseconds(connection, rows, memories))
            _make_memories(connection, list(indexes.values()))
            connection.execute("ALTER INDEX bench.memories_by_tag SET (fastupdate = off)")
            name = "GIN without fastupdate"
            found.setdefault(name, []).append(_microseconds(connection, rows, memories))
            for name, content in (("history with content", _CONTENT), ("history without content", "NULL")):
                _make_history(connection)
                statement = sql.SQL(_HISTORY).format(content=sql.SQL(content))
                found.setdefault(name, []).append(_microseconds(connection, rows, statement))
        _make_memories(connection, list(indexes.values()))
        _microseconds(connection, rows, memories)
        sizes = connection.execute(
            "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) / %s FROM pg_index "
            "WHERE indrelid = 'bench.memories'::regclass",
            [rows],
        ).fetchall()
    for name, values in found.items():
        print(f"{name:36} {min(values):6.1f} us a row")
    for name, size in sizes:
        print(f"{name:36} {size:6d} bytes a row")


def _variants(indexes: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    (key,) = (index for index in indexes if index.endswith("_pkey"))
    yield "all indexes", indexes
    yield "the primary key alone", [key]
    for index in indexes:
        if index != key:
            yield f"that and {index}", [key, index]
    yield "that and the three time orders", [key, *_TIME_ORDERS]


def _fill_source(connection: psycopg.Connection, rows: int) -> None:
    connection.execute(_SOURCE)
    # Only the first event of each memory.
    events = {event.memory_id: event for event in made_up_events(2 * rows)}
    wanted = [_row(number, event) for number, event in enumerate(islice(events.values(), rows))]
    with connection.cursor() as cursor:
        cursor.executemany(_MEMORY, wanted)
    connection.execute("CREATE INDEX ON bench.source (number)")


def _row(number: int, event: MemoryStored) -> tuple[object, ...]:
    at = event.occurred_at
    return (
        number, event.tenant, event.memory_id, (1 << 40) + number, at, at, at, [event.event_id],
        event.namespace, event.key, event.kind.value, event.text, event.payload, event.tags, event.importance,
        event.subject, event.expires_at, event.actor,
    )  # fmt: skip


def _make_memories(connection: psycopg.Connection, indexes: Sequence[str]) -> None:
    connection.execute("DROP TABLE IF EXISTS bench.memories")
    connection.execute(
        "CREATE TABLE bench.memories (LIKE public.memories INCLUDING CONSTRAINTS INCLUDING STORAGE)"
    )
    for index in indexes:
        connection.execute(index.replace("ON public.memories", "ON bench.memories").encode())


def _make_history(connection: psycopg.Connection) -> None:
    connection.execute("DROP TABLE IF EXISTS bench.history")
    connection.execute("CREATE TABLE bench.history (LIKE public.memory_history INCLUDING CONSTRAINTS)")
    connection.execute("ALTER TABLE bench.history ADD PRIMARY KEY (partition, version, logged_at)")
    connection.execute("CREATE INDEX ON bench.history (tenant, memory_id, version)")


def _microseconds(connection: psycopg.Connection, rows: int, statement: sql.Composed) -> float:
    """Return how long the server's process works for a row."""
    server = psutil.Process(connection.info.backend_pid)
    before = server.cpu_times()
    for start in range(0, rows, _BATCH):
        connection.execute(statement, [start, start + _BATCH])
    after = server.cpu_times()
    return (after.user + after.system - before.user - before.system) / rows * 1e6


if __name__ == "__main__":
    main()
