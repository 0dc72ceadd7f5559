"""Compares the counts in PostgreSQL with the rows that they count, and makes them anew."""

from typing import Any, NamedTuple

import psycopg

# Counts and rows as one statement sees them, so that writers need not stop.
_COUNTS_THAT_DIFFER = """
SELECT tenant, counted, namespace, kind, sum(kept)::bigint, sum(found)::bigint
FROM (
    SELECT tenant, 'memories', namespace, kind, number, 0 FROM namespace_counts
    UNION ALL
    SELECT tenant, counted, NULL, NULL, number, 0 FROM tenant_counts
    UNION ALL
    SELECT tenant, 'memories', namespace, kind, 0, 1 FROM memories WHERE NOT deleted
    UNION ALL
    SELECT tenant, 'links', NULL, NULL, 0, 1 FROM memory_links WHERE NOT deleted
    UNION ALL
    SELECT tenant, 'dead_letters', NULL, NULL, 0, 1 FROM dead_letters
    WHERE status = 'open' AND tenant IS NOT NULL
) AS seen (tenant, counted, namespace, kind, kept, found)
GROUP BY tenant, counted, namespace, kind
HAVING sum(kept) <> sum(found)
ORDER BY tenant, counted, namespace, kind
"""

# Whoever holds a shard is waited for, and whoever comes takes another one: sinks never wait for a repair.
_HOLD_SHARDS = """
SELECT shard, pg_advisory_xact_lock(1397705025, shard)
FROM (SELECT shard FROM namespace_counts UNION SELECT shard FROM tenant_counts ORDER BY shard) AS held
"""
_FORGET_MEMORIES = "DELETE FROM namespace_counts WHERE shard = ANY (%(shards)s::integer[])"
_FORGET_OTHERS = "DELETE FROM tenant_counts WHERE shard = ANY (%(shards)s::integer[])"

# What is left of the counts is in shards that others have begun meanwhile.
_COUNT_MEMORIES = """
INSERT INTO namespace_counts (tenant, namespace, kind, shard, number)
SELECT tenant, namespace, kind, (SELECT soma_count_shard()), sum(number)
FROM (
    SELECT tenant, namespace, kind, 1 FROM memories WHERE NOT deleted
    UNION ALL
    SELECT tenant, namespace, kind, -number FROM namespace_counts
) AS missing (tenant, namespace, kind, number)
GROUP BY tenant, namespace, kind
HAVING sum(number) <> 0
"""
_COUNT_OTHERS = """
INSERT INTO tenant_counts (tenant, counted, shard, number)
SELECT tenant, counted, (SELECT soma_count_shard()), sum(number)
FROM (
    SELECT tenant, 'links', 1 FROM memory_links WHERE NOT deleted
    UNION ALL
    SELECT tenant, 'dead_letters', 1 FROM dead_letters WHERE status = 'open' AND tenant IS NOT NULL
    UNION ALL
    SELECT tenant, counted, -number FROM tenant_counts
) AS missing (tenant, counted, number)
GROUP BY tenant, counted
HAVING sum(number) <> 0
"""


class CountDifference(NamedTuple):
    """A count that is not the number of rows.

    Attributes:
        counted: `memories`, `links` or `dead_letters`, the open ones.
        namespace: Of memories; links and dead letters are counted by tenant.
        kind: Likewise.
        kept: What the counts say.
        found: How many rows there are.
    """

    tenant: str
    counted: str
    namespace: str | None
    kind: str | None
    kept: int
    found: int


def count_differences(connection: psycopg.Connection[Any]) -> list[CountDifference]:
    """Return every count that is wrong; nobody has to stop writing.

    Args:
        connection: As the owner of the database, or another login that sees every tenant.

    Raises:
        psycopg.Error: The database does not answer or refuses.
    """
    return [CountDifference(*row) for row in connection.execute(_COUNTS_THAT_DIFFER).fetchall()]


def rebuild_counts(connection: psycopg.Connection[Any]) -> None:
    """Count all rows anew, within the connection's transaction; nobody has to stop writing.

    Args:
        connection: As the owner of the database, not in autocommit.

    Raises:
        psycopg.Error: The database does not answer or refuses; nothing is changed once it is rolled back.
    """
    shards = {"shards": [shard for shard, _ in connection.execute(_HOLD_SHARDS).fetchall()]}
    for forget, count in ((_FORGET_MEMORIES, _COUNT_MEMORIES), (_FORGET_OTHERS, _COUNT_OTHERS)):
        connection.execute(forget, shards)
        connection.execute(count)
