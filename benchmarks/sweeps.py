"""`python -m benchmarks.sweeps`: what a decay and a cap cost among a million memories, to find and to write.

Finding is what the sweeper asks the database. Writing is the sink's own statement, with and without the one
index that only a decay, or only a cap, needs; with each it is measured by turns.
"""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.events import made_up_events
from benchmarks.stage import CLOCK, Stage, open_stage, tell
from soma_cli.invocation import Invocation
from soma_cli.local.postgres import Login
from soma_schemas.events import Decay, MemoryStored, RetentionRule, SizeCap
from soma_schemas.groups import SinkGroup
from soma_schemas.logs import configure_logging
from soma_schemas.postgres_pool import open_pool
from soma_schemas.retention import TenantPolicies
from soma_schemas.settings import LogSettings
from soma_schemas.versions import Position, pack_version
from soma_streams.delivery.state import LoggedEvent, Watermark
from soma_streams.retention.due_memories import ended_by_policy
from soma_streams.retention.surplus import crowded, due_surplus
from soma_streams.sinks.postgres import PostgresSink
from soma_streams.sinks.sessions import Connection, Sessions

_TENANT, _NAMESPACES, _DUE, _PAGE = "many", 40, 10, 500
_NOW = datetime(2026, 6, 1, tzinfo=UTC)
_ROUNDS, _BATCH = 7, 2_000

# The oldest ten of importance 0.5 changed a year before the others.
_FILL = """
INSERT INTO memories (
    tenant, memory_id, version, deleted, updated_at, recent_event_ids, namespace, kind, text, payload, tags,
    importance, occurred_at, actor, created_at, access_count
)
SELECT
    'many', lpad(to_hex(n), 32, '0')::uuid, n, false, at, '{}', 'users/' || n %% 40 || '/notes',
    CASE WHEN n %% 3 = 0 THEN 'SEMANTIC' ELSE 'EPISODIC' END, repeat('tea at four. ', 20), '{}', '{}',
    CASE WHEN n <= 10 THEN 0.5 ELSE 0.2 + n %% 80 / 100.0 END, at, 'benchmark', at, 0
FROM (
    SELECT
        n, timestamptz '2026-05-01Z' + n * interval '1 s' / 1000
            - CASE WHEN n <= 10 THEN interval '1 year' ELSE interval '0' END AS at
    FROM generate_series(1, %(count)s) AS n
) AS made
"""
_INDEXES = {
    "a decay": "memories_by_lifetime",
    "a cap": "memories_by_importance",
}


def _policies(rule: RetentionRule | None = None, cap: SizeCap | None = None) -> TenantPolicies:
    """One policy for the whole tenant."""
    return TenantPolicies({None: [rule] if rule else []}, {None: cap} if cap else {})


def _rule(days: int, decay: Decay | None = None) -> RetentionRule:
    ttl = int(timedelta(days=days).total_seconds())
    return RetentionRule(kind=None, ttl_seconds=ttl, notice_seconds=0, archive=False, decay=decay)


async def _found_by_rule(connection: Connection, policies: TenantPolicies) -> int:
    return await _counted(ended_by_policy(connection, _TENANT, policies, _NOW, _PAGE))


async def _found_by_cap(connection: Connection, policies: TenantPolicies) -> int:
    found = 0
    async for place in crowded(connection, _TENANT, policies):
        found += await _counted(due_surplus(connection, place, _NOW, _PAGE))
    return found


async def _counted(pages: AsyncIterator[Sequence[object]]) -> int:
    return sum([len(page) async for page in pages])


async def _find(stage: Stage, count: int) -> Table:
    """Time what the sweeper asks, where nothing is due and where ten memories are."""
    year = int(timedelta(days=365).total_seconds())
    slow, quick = (Decay(half_life_seconds=year // part, floor=0.05) for part in (1, 4))
    crowd = count // _NAMESPACES
    asked = {
        "a rule of time, nothing due": (_found_by_rule, _policies(_rule(10_000))),
        "a rule of time, ten due": (_found_by_rule, _policies(_rule(100))),
        "a decay, nothing due": (_found_by_rule, _policies(_rule(10_000, slow))),
        "a decay, ten due": (_found_by_rule, _policies(_rule(10_000, quick))),
        "a cap, nothing above": (_found_by_cap, _policies(cap=_cap(crowd))),
        "a cap, one of each namespace above": (_found_by_cap, _policies(cap=_cap(crowd - 1))),
    }
    table = Table("asked", "memories found", "ms", box=None)
    async with open_pool(stage.worker_database()) as pool, Sessions(pool).borrow() as connection:
        for title, (find, policies) in asked.items():
            times = []
            for _ in range(_ROUNDS):
                began = CLOCK.monotonic()
                found = await find(connection, policies)
                times.append(CLOCK.monotonic() - began)
            table.add_row(title, f"{found:,}", f"{median(times) * 1000:.1f}")
    return table


def _cap(most: int) -> SizeCap:
    return SizeCap(max_memories=most, notice_seconds=0, archive=False)


async def _write(stage: Stage) -> Table:
    """Time the sink by turns with all indexes, and without each."""
    definitions = _definitions(stage)
    events = made_up_events(_BATCH * _ROUNDS * (1 + 2 * len(_INDEXES)))
    micros: dict[str, list[float]] = {title: [] for title in ("with all", *_INDEXES)}
    offset = 0
    async with open_pool(stage.worker_database()) as pool:
        sink = PostgresSink(pool, SinkGroup.POSTGRES)
        for _ in range(_ROUNDS):
            for title, times in micros.items():
                if title in _INDEXES:
                    stage.execute(f"DROP INDEX {_INDEXES[title]}")
                stage.settle_down()
                batch = [_logged(next(events), offset + number) for number in range(_BATCH)]
                offset += _BATCH
                began = CLOCK.monotonic()
                await sink.write(batch, [], Watermark(SinkGroup.POSTGRES, "memory.events", 0, 1, offset))
                times.append((CLOCK.monotonic() - began) / _BATCH * 1e6)
                if title in _INDEXES:
                    stage.execute(definitions[title])
    table = Table("written", "us per event", "ratio", box=None)
    whole = median(micros["with all"])
    table.add_row("with all indexes", f"{whole:.1f}", "1.00")
    for title in _INDEXES:
        table.add_row(
            f"without that of {title}", f"{median(micros[title]):.1f}", f"{median(micros[title]) / whole:.2f}"
        )
    return table


def _logged(event: MemoryStored, offset: int) -> LoggedEvent:
    place = Position(0, offset)
    return LoggedEvent(event, place, place, pack_version(1, offset), _NOW)


def _definitions(stage: Stage) -> dict[str, str]:
    with psycopg.connect(stage.dsn()) as connection:
        return {
            title: connection.execute(
                "SELECT indexdef FROM pg_indexes WHERE indexname = %s", [name]
            ).fetchall()[0][0]
            for title, name in _INDEXES.items()
        }


async def _measure(folder: Path, count: int) -> None:
    async with open_stage(folder, Invocation(os.environ).cache) as stage:
        tell(f"making {count:,} memories")
        with psycopg.connect(stage.dsn(), autocommit=True) as connection:
            connection.execute("TRUNCATE memories, namespace_counts, memory_history, sink_watermarks")
            connection.execute(_FILL.encode(), {"count": count})
        with psycopg.connect(stage.dsn(Login.OWNER), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE memories")
        for table in (await _find(stage, count), await _write(stage)):
            Console().print(table)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("build/sweeps"))
    options = parser.parse_args()
    configure_logging(LogSettings(level="error"))
    asyncio.run(_measure(options.folder.resolve(), options.memories))


if __name__ == "__main__":
    main()
