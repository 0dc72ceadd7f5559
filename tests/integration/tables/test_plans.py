"""The indexes serve a reader that is held to its tenant, although it may use leakproof operators alone."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

# Enough rows that reading them all would be the slower way, spread over namespaces, keys, tags and time.
_SEED = """
INSERT INTO memories (
    tenant, memory_id, version, deleted, updated_at, recent_event_ids, namespace, kind, text, payload, tags,
    importance, occurred_at, actor, created_at, access_count, coordinate, subject, expires_at
)
SELECT
    CASE n % 4 WHEN 0 THEN 'other' ELSE 'acme' END, gen_random_uuid(), n, false,
    timestamptz '2026-03-01Z' + n * interval '1 minute', '{}', 'users/' || n % 400 || '/notes', 'EPISODIC',
    'tea', '{}', ARRAY['common', 'rare' || n % 2000], 0.5,
    timestamptz '2026-03-01Z' + n * interval '1 minute', 'a',
    timestamptz '2026-03-01Z' + n * interval '1 minute', 0,
    CASE WHEN n % 3 = 0 THEN ARRAY[n % 100, n % 77]::float8[] END,
    CASE WHEN n % 50 = 0 THEN 'person' || n % 1000 END,
    CASE WHEN n % 50 = 0 THEN timestamptz '2026-03-01Z' + n * interval '1 minute' END
FROM generate_series(1, 20000) AS n;
INSERT INTO memory_links
SELECT tenant, memory_id, 'about', gen_random_uuid(), 1, 1, false FROM memories;
SELECT soma_ensure_history_partition(month) FROM unnest('{2026-03-01,2026-04-01}'::date[]) AS month;
INSERT INTO memory_history (partition, version, logged_at, tenant, memory_id, outcome)
SELECT 0, version, updated_at, tenant, memory_id, 'applied' FROM memories;
INSERT INTO dead_letters (id, tenant, topic, partition, log_offset, dlq_partition, dlq_offset, code, message)
SELECT gen_random_uuid(), tenant, 'memory.events', 0, version, 0, version, 'avro', '' FROM memories;
ANALYZE;
"""


@pytest.fixture(scope="module")
def planner(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """A reader of tenant acme, on tables with rows."""
    local_parts = request.getfixturevalue("local_parts")
    dsn = local_parts.parts.postgres.dsn
    with psycopg.connect(dsn("soma_owner")) as owner:
        owner.execute("TRUNCATE memories, memory_links, memory_history, dead_letters")
        owner.execute(_SEED.encode())
    with psycopg.connect(dsn("soma_api"), autocommit=True) as reader:
        reader.execute("SELECT set_config('soma.tenant', 'acme', false)")
        yield reader


def indexes(planner: psycopg.Connection[Any], rows: str) -> set[str]:
    """The indexes that reading some rows uses; `whole table` stands for a table that is read to its end."""
    query = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {rows}"  # noqa: S608  # our own words
    row = planner.execute(query.encode()).fetchone()
    assert row is not None
    found: set[str] = set()
    pending = [row[0][0]["Plan"]]
    while pending:
        node = pending.pop()
        pending += node.get("Plans", [])
        if "Index Name" in node:
            found.add(node["Index Name"])
        if node["Node Type"] == "Seq Scan":
            found.add("whole table")
    return found


AN_ID = "'00000000-0000-7000-8000-000000000001'"
QUERIES = {
    "memories_pkey": f"memories WHERE tenant = 'acme' AND memory_id = {AN_ID} AND NOT deleted",
    "memories_by_namespace": """memories
        WHERE tenant = 'acme' AND NOT deleted AND namespace = 'users/7/notes'
        ORDER BY updated_at DESC, memory_id DESC LIMIT 20""",
    "memories_by_namespace, next page": f"""memories
        WHERE tenant = 'acme' AND NOT deleted AND namespace = 'users/7/notes'
            AND (updated_at, memory_id) < (timestamptz '2026-03-05Z', {AN_ID})
        ORDER BY updated_at DESC, memory_id DESC LIMIT 20""",
    "memories_by_namespace, prefix": """memories
        WHERE tenant = 'acme' AND NOT deleted
            AND (namespace = 'users/7' OR (namespace >= 'users/7/' AND namespace < 'users/70'))
        ORDER BY occurred_at, memory_id LIMIT 20""",
    "memories_by_update": """memories
        WHERE tenant = 'acme' AND NOT deleted ORDER BY updated_at DESC, memory_id DESC LIMIT 20""",
    "memories_by_creation": f"""memories
        WHERE tenant = 'acme' AND NOT deleted
            AND (created_at, memory_id) > (timestamptz '2026-03-05Z', {AN_ID})
        ORDER BY created_at, memory_id LIMIT 20""",
    "memories_by_occurrence": """memories
        WHERE tenant = 'acme' AND NOT deleted ORDER BY occurred_at DESC, memory_id DESC LIMIT 20""",
    "memories_by_coordinate": """memories
        WHERE tenant = 'acme' AND NOT deleted AND namespace = 'users/7/notes'
            AND cardinality(coordinate) = 2
            AND coordinate[1] BETWEEN 1 AND 3 AND coordinate[2] BETWEEN 4 AND 8""",
    "memories_by_tenant_expiry": """memories
        WHERE tenant = 'acme' AND NOT deleted AND coalesce(expires_at, 'infinity') < 'infinity'
            AND coalesce(expires_at, 'infinity') <= timestamptz '2026-03-02Z'""",
    "memories_by_subject": "memories WHERE tenant = 'acme' AND NOT deleted AND subject = 'person50'",
    "memory_links_pkey": f"memory_links WHERE tenant = 'acme' AND NOT deleted AND from_memory_id = {AN_ID}",
    "memory_links_by_end": f"""memory_links
        WHERE tenant = 'acme' AND NOT deleted AND to_memory_id = {AN_ID}""",
    "dead_letters_by_position": """dead_letters
        WHERE tenant = 'acme' AND topic = 'memory.events' AND partition = 0 AND log_offset = 77""",
    "memory_history_2026_03_tenant_memory_id_version_idx": f"""memory_history
        WHERE tenant = 'acme' AND memory_id = {AN_ID} AND logged_at < '2026-04-01Z'""",
    "memory_history_2026_03_pkey": """memory_history
        WHERE tenant = 'acme' AND partition = 0 AND version = 77 AND logged_at < '2026-04-01Z'""",
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_query_of_a_reader_uses_its_index(planner: psycopg.Connection[Any], case: str) -> None:
    assert indexes(planner, QUERIES[case]) == {case.partition(",")[0]}


def test_the_owner_finds_rare_tags_by_their_index_and_a_reader_therefore_asks_a_function(
    planner: psycopg.Connection[Any], owner_of_tables: psycopg.Connection[Any]
) -> None:
    rare = """memories WHERE tenant = 'acme' AND NOT deleted
        AND array_prepend(tenant, tags) @> ARRAY['acme', 'rare7']"""

    assert "memories_by_tag" in indexes(owner_of_tables, rare)
    assert "memories_by_tag" not in indexes(planner, rare)


@pytest.fixture
def owner_of_tables(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """The owner, who is held to no tenant."""
    local_parts = request.getfixturevalue("local_parts")
    with psycopg.connect(local_parts.parts.postgres.dsn("soma_owner")) as owner:
        yield owner
