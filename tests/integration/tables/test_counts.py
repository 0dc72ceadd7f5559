"""Counts that are kept beside the rows, by whatever statement writes them."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from postgres_tables import counts_that_differ, rows
from soma_cli.count_verification import count_differences, rebuild_counts
from soma_schemas.tables import REVISIONS
from soma_schemas.tables.migrations import downgrade, migrate

WRITTEN = """
    tenant, memory_id, version, deleted, updated_at, recent_event_ids, namespace, kind, text, payload, tags,
    importance, occurred_at, actor, created_at, access_count
"""
A_MEMORY = f"""
INSERT INTO memories ({WRITTEN})
SELECT 'acme', md5(n::text)::uuid, 1, false, now(), '{{}}', 'team/' || n %% 3,
    CASE WHEN n %% 2 = 0 THEN 'EPISODIC' ELSE 'SEMANTIC' END, 'tea', '{{}}', '{{}}', 0.5, now(), 'a', now(), 0
FROM generate_series(%s::integer, %s::integer) AS n
"""  # noqa: S608  # columns of our own
A_TOMBSTONE = """
SET deleted = true, namespace = NULL, key = NULL, kind = NULL, text = NULL, payload = NULL, tags = NULL,
    importance = NULL, occurred_at = NULL, actor = NULL, created_at = NULL, access_count = NULL
"""
A_LINK = """
INSERT INTO memory_links SELECT 'acme', md5(n::text)::uuid, 'about', md5('to')::uuid, 1, 1, false
FROM generate_series(%s::integer, %s::integer) AS n
"""
A_LETTER = """
INSERT INTO dead_letters (id, tenant, dlq_partition, dlq_offset, code, message)
SELECT md5(n::text)::uuid, CASE WHEN n %% 5 > 0 THEN 'acme' END, 0, n, 'avro', ''
FROM generate_series(%s::integer, %s::integer) AS n
"""


@pytest.fixture
def worker(worker_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A worker that commits each statement by itself."""
    with psycopg.connect(worker_dsn, autocommit=True) as connection:
        yield connection


def memories_counted(dsn: str) -> dict[tuple[str, str], int]:
    query = """
    SELECT namespace, kind, sum(number)::integer AS number FROM namespace_counts
    WHERE tenant = 'acme' GROUP BY namespace, kind HAVING sum(number) <> 0
    """
    return {(row["namespace"], row["kind"]): row["number"] for row in rows(dsn, query)}


def counted(dsn: str, what: str) -> int:
    query = "SELECT coalesce(sum(number), 0)::integer AS number FROM tenant_counts WHERE counted = %(what)s"
    return int(rows(dsn, query, what=what)[0]["number"])


def test_living_memories_are_counted_by_namespace_and_kind(
    worker: psycopg.Connection[Any], owner_dsn: str
) -> None:
    worker.execute(A_MEMORY, [1, 7])

    assert memories_counted(owner_dsn) == {
        ("team/0", "EPISODIC"): 1,
        ("team/0", "SEMANTIC"): 1,
        ("team/1", "EPISODIC"): 1,
        ("team/1", "SEMANTIC"): 2,
        ("team/2", "EPISODIC"): 1,
        ("team/2", "SEMANTIC"): 1,
    }
    assert counts_that_differ(owner_dsn) == []


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE memories {A_TOMBSTONE} WHERE namespace = 'team/1'",
        "UPDATE memories SET kind = 'SEMANTIC', namespace = 'board'",
        "UPDATE memories SET access_count = 7",
        "UPDATE memories SET deleted = deleted WHERE false",
        f"""
        INSERT INTO memories AS held ({WRITTEN}) SELECT {WRITTEN} FROM memories WHERE namespace = 'team/1'
        ON CONFLICT (tenant, memory_id) DO UPDATE SET namespace = 'elsewhere'
        """,  # noqa: S608  # columns of our own
        "DELETE FROM memories WHERE kind = 'EPISODIC'",
    ],
)
def test_whatever_a_statement_changes_is_counted(
    worker: psycopg.Connection[Any], owner_dsn: str, statement: str
) -> None:
    worker.execute(A_MEMORY, [1, 20])

    with psycopg.connect(owner_dsn) as owner:
        owner.execute(statement.encode())

    assert counts_that_differ(owner_dsn) == []


def test_what_is_rolled_back_was_never_counted(worker: psycopg.Connection[Any], owner_dsn: str) -> None:
    with worker.transaction() as transaction:
        worker.execute(A_MEMORY, [1, 20])
        raise psycopg.Rollback(transaction)

    assert memories_counted(owner_dsn) == {}


def test_living_links_are_counted(worker: psycopg.Connection[Any], owner_dsn: str) -> None:
    worker.execute(A_LINK, [1, 20])
    worker.execute("UPDATE memory_links SET deleted = true WHERE from_memory_id = md5('7')::uuid")

    assert counted(owner_dsn, "links") == 19
    assert counts_that_differ(owner_dsn) == []


def test_open_letters_are_counted_and_what_an_operator_decides_about_them(
    worker: psycopg.Connection[Any], owner_dsn: str
) -> None:
    worker.execute(A_LETTER, [1, 20])  # of which four have no tenant
    with psycopg.connect(owner_dsn) as operator:
        operator.execute("SET ROLE soma_operators")
        operator.execute("UPDATE dead_letters SET status = 'discarded' WHERE id = md5('7')::uuid")

    assert counted(owner_dsn, "dead_letters") == 15
    assert counts_that_differ(owner_dsn) == []


def test_writers_of_one_namespace_do_not_wait_for_each_other(worker_dsn: str, owner_dsn: str) -> None:
    with ExitStack() as closing:
        writers = [closing.enter_context(psycopg.connect(worker_dsn)) for _ in range(4)]
        for turn in range(3):
            # In turns, each in its own order: held rows would make them wait, or meet in a deadlock.
            for number, writer in enumerate(writers if turn % 2 else writers[::-1]):
                writer.execute("SET LOCAL lock_timeout = 1")
                first = 1 + 1000 * turn + 100 * (number if turn % 2 else 3 - number)
                writer.execute(A_MEMORY, [first, first + 99])
                writer.execute(A_LINK, [first, first + 99])
        for writer in writers:
            writer.commit()

    assert sum(memories_counted(owner_dsn).values()) == 1200
    assert counts_that_differ(owner_dsn) == []


def test_a_database_with_rows_is_counted_when_it_is_migrated(empty_database: str) -> None:
    migrate(empty_database)
    downgrade(empty_database, "0002")
    with psycopg.connect(empty_database) as owner:
        for statement in (A_MEMORY, A_LINK, A_LETTER):
            owner.execute(statement, [1, 500])
        owner.execute(f"UPDATE memories {A_TOMBSTONE} WHERE namespace = 'team/1'".encode())

    migrate(empty_database)

    assert sum(memories_counted(empty_database).values()) == 333
    assert (counted(empty_database, "links"), counted(empty_database, "dead_letters")) == (500, 400)
    assert counts_that_differ(empty_database) == []


def test_a_migration_that_was_interrupted_before_it_counted_is_run_again(empty_database: str) -> None:
    migrate(empty_database)
    downgrade(empty_database, "0003")
    with psycopg.connect(empty_database) as owner:
        owner.execute(A_MEMORY, [1, 500])
        owner.execute("UPDATE namespace_counts SET number = 1")
        owner.execute("UPDATE alembic_version SET version_num = '0002'")

    assert migrate(empty_database) == list(REVISIONS[2:])
    assert counts_that_differ(empty_database) == []


def test_a_rebuild_leaves_the_counts_of_the_rows_and_nothing_else(
    worker: psycopg.Connection[Any], owner_dsn: str
) -> None:
    for statement in (A_MEMORY, A_LINK, A_LETTER):
        worker.execute(statement, [1, 50])
    with psycopg.connect(owner_dsn) as owner:
        owner.execute("DELETE FROM memories WHERE namespace = 'team/1'")
        owner.execute("UPDATE namespace_counts SET number = 7 WHERE namespace = 'team/0'")
        owner.execute(
            "INSERT INTO namespace_counts SELECT 'acme', 'gone', 'k', n, 0 FROM generate_series(0, 3) n"
        )
        owner.execute("DELETE FROM tenant_counts")

        wrong = count_differences(owner)
        rebuild_counts(owner)
        right = count_differences(owner)

    assert [(each.counted, each.namespace, each.kept, each.found) for each in wrong] == [
        ("dead_letters", None, 0, 40),
        ("links", None, 0, 50),
        ("memories", "team/0", 7, 8),
        ("memories", "team/0", 7, 8),
    ]
    assert right == []
    assert counts_that_differ(owner_dsn) == []
    assert rows(owner_dsn, "SELECT DISTINCT namespace FROM namespace_counts ORDER BY 1") == [
        {"namespace": "team/0"},
        {"namespace": "team/2"},
    ]


def test_writers_do_not_wait_for_a_rebuild_and_are_counted(worker_dsn: str, owner_dsn: str) -> None:
    with (
        psycopg.connect(worker_dsn) as early,
        psycopg.connect(worker_dsn) as late,
        psycopg.connect(owner_dsn) as owner,
    ):
        early.execute(A_MEMORY, [1, 100])
        early.commit()
        early.execute(A_MEMORY, [101, 200])
        early.commit()
        rebuild_counts(owner)
        late.execute("SET lock_timeout = 1")
        late.execute(A_MEMORY, [201, 300])
        late.commit()
        late.execute(A_MEMORY, [301, 400])
        owner.commit()
        late.commit()

    assert sum(memories_counted(owner_dsn).values()) == 400
    assert counts_that_differ(owner_dsn) == []
