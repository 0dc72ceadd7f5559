"""Counts that are kept where rows are written, and plans that rest on no knowledge of a tenant.

Triggers add what each statement changed to the counts of its tenant, whatever statement it was, in the
transaction that wrote the rows. A transaction adds to a shard that no other transaction holds meanwhile, so
that writers of one namespace neither wait for each other nor meet in a deadlock; readers add up the shards.

A policy is a filter from now on, never a way to rows: as `tenant = ...` it offered each scan the indexes that
begin with the tenant, which look best whenever statistics take the tenant for a rare one. Statements name the
tenant themselves where such an index is the way.
"""

from typing import NamedTuple

from soma_schemas.tables.statements import commit, run

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE namespace_counts (
    tenant text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (tenant, namespace, kind, shard)
) WITH (fillfactor = 50);  -- room to change a number in place
COMMENT ON TABLE namespace_counts IS 'How many living memories there are: the sum over the shards.';

CREATE TABLE tenant_counts (
    tenant text COLLATE "C" NOT NULL,
    counted text COLLATE "C" NOT NULL CHECK (counted IN ('links', 'dead_letters')),
    shard integer NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (tenant, counted, shard)
) WITH (fillfactor = 50);
COMMENT ON TABLE tenant_counts IS
    'How many living links and open dead letters there are: the sum over the shards.';

DO $$
DECLARE counts text;
BEGIN
    FOREACH counts IN ARRAY ARRAY['namespace_counts', 'tenant_counts'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO soma_sinks, soma_readers', counts);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', counts);
        EXECUTE format('CREATE POLICY every_tenant ON %I FOR SELECT TO soma_sinks USING (true)', counts);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I FOR SELECT TO soma_readers '
            'USING (coalesce(tenant = current_setting(''soma.tenant'', true), false))', counts
        );
    END LOOP;
END
$$;

CREATE FUNCTION soma_count_shard() RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE shard integer := 0;
BEGIN
    WHILE NOT pg_try_advisory_xact_lock(1397705025, shard) LOOP
        shard := shard + 1;
    END LOOP;
    RETURN shard;
END
$$;
COMMENT ON FUNCTION soma_count_shard IS
    'The first shard that no other transaction holds; it is held until the transaction ends.';
REVOKE ALL ON FUNCTION soma_count_shard FROM PUBLIC;
"""


class Counted(NamedTuple):
    """Rows that are counted: of a table, in another, under which key, and which of them."""

    table: str
    target: str
    columns: str
    values: str
    which: str


COUNTED = (
    Counted(
        "memories",
        "namespace_counts",
        "tenant, namespace, kind",
        "tenant, namespace, kind",
        "NOT deleted",
    ),
    Counted("memory_links", "tenant_counts", "tenant, counted", "tenant, 'links'", "NOT deleted"),
    Counted(
        "dead_letters",
        "tenant_counts",
        "tenant, counted",
        "tenant, 'dead_letters'",
        "status = 'open' AND tenant IS NOT NULL",
    ),
)
# By what a statement does: the rows that a trigger sees, and what each of them is worth.
SEEN = {
    "INSERT": {"added": 1},
    "UPDATE": {"added": 1, "removed": -1},
    "DELETE": {"removed": -1},
}
NAMED = {"added": "NEW TABLE AS added", "removed": "OLD TABLE AS removed"}

# The tenant is asked outside, where it cannot open the indexes that begin with it.
TAGGED = """
    SELECT memory_id FROM (
        SELECT tenant, memory_id FROM public.memories
        WHERE NOT deleted
            AND array_prepend(tenant, tags) @> array_prepend(current_setting('soma.tenant', true), wanted)
        OFFSET 0
    ) AS tagged
    WHERE tenant = current_setting('soma.tenant', true)
    LIMIT most;
"""
TAGGED_BEFORE = """
    SELECT memory_id FROM public.memories
    WHERE NOT deleted
        AND tenant = current_setting('soma.tenant', true)
        AND array_prepend(tenant, tags) @> array_prepend(current_setting('soma.tenant', true), wanted)
    LIMIT most;
"""
OWN = "tenant = current_setting('soma.tenant', true)"
GUARDED = ("memories", "memory_history", "memory_links", "dead_letters")

# Every plan of a list takes its tenant for one that owns the table. That is never dear: an index that begins
# with the tenant costs a small tenant no more than its own rows, whichever it is.
LISTED = ("memories", "dead_letters")

# Also what a run left that was interrupted between the two transactions of the way up.
NO_COUNTS = (
    "".join(
        f"DROP TRIGGER IF EXISTS soma_count_{each.table}_{change.lower()} ON {each.table};"
        f"DROP FUNCTION IF EXISTS soma_count_{each.table}_{change.lower()};"
        for each in COUNTED
        for change in SEEN
    )
    + "DROP FUNCTION IF EXISTS soma_count_shard; DROP TABLE IF EXISTS namespace_counts, tenant_counts;"
)


def upgrade() -> None:
    run(NO_COUNTS)
    run(TABLES)
    for counted in COUNTED:
        run(_triggers(counted))
    run("".join(f"ALTER TABLE {table} ALTER COLUMN tenant SET (n_distinct = 1);" for table in LISTED))
    run(_tagged(TAGGED))
    run(_policies(f"coalesce({OWN}, false)"))
    # The triggers count from here on, and the tables are free. What was there before is counted while others
    # write.
    commit()
    for target in dict.fromkeys(counted.target for counted in COUNTED):
        run(_filling(target))


def downgrade() -> None:
    run(_policies(OWN))
    run(_tagged(TAGGED_BEFORE))
    run("".join(f"ALTER TABLE {table} ALTER COLUMN tenant RESET (n_distinct);" for table in LISTED))
    run(NO_COUNTS)


def _triggers(counted: Counted) -> str:
    made = []
    for change, seen in SEEN.items():
        name = f"soma_count_{counted.table}_{change.lower()}"
        rows = " UNION ALL ".join(
            f"SELECT {counted.values}, {worth} FROM {transition} WHERE {counted.which}"  # noqa: S608  # as above
            for transition, worth in seen.items()
        )
        made.append(f"""
        CREATE FUNCTION {name}() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
        AS $$
        BEGIN
            INSERT INTO public.{counted.target} AS held ({counted.columns}, shard, number)
            SELECT {counted.columns}, (SELECT public.soma_count_shard()), sum(change)
            FROM ({rows}) AS changed ({counted.columns}, change)
            GROUP BY {counted.columns}
            HAVING sum(change) <> 0
            ON CONFLICT ({counted.columns}, shard) DO UPDATE SET number = held.number + EXCLUDED.number;
            RETURN NULL;
        END
        $$;
        REVOKE ALL ON FUNCTION {name} FROM PUBLIC;
        CREATE TRIGGER {name} AFTER {change} ON {counted.table}
            REFERENCING {" ".join(NAMED[transition] for transition in seen)}
            FOR EACH STATEMENT EXECUTE FUNCTION {name}();
        """)  # noqa: S608  # put together from the names above
    return "".join(made)


def _filling(target: str) -> str:
    """Add what is missing: rows without their sum, both as one statement sees them.

    Nobody waits for it. What others write meanwhile is in neither, and adds its own difference.
    """
    rows = " UNION ALL ".join(
        f"SELECT {each.values}, 1 FROM {each.table} WHERE {each.which}"  # noqa: S608  # as above
        for each in COUNTED
        if each.target == target
    )
    columns = next(each.columns for each in COUNTED if each.target == target)
    return f"""
    INSERT INTO {target} AS held ({columns}, shard, number)
    SELECT {columns}, (SELECT soma_count_shard()), sum(change)
    FROM ({rows} UNION ALL SELECT {columns}, -number FROM {target}) AS changed ({columns}, change)
    GROUP BY {columns}
    HAVING sum(change) <> 0
    ON CONFLICT ({columns}, shard) DO UPDATE SET number = held.number + EXCLUDED.number;
    """  # noqa: S608  # as above


def _tagged(body: str) -> str:
    return f"""
    CREATE OR REPLACE FUNCTION soma_tagged_memories(wanted text[], most integer) RETURNS SETOF uuid
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    BEGIN ATOMIC
    {body}
    END;
    """


def _policies(condition: str) -> str:
    return "".join(f"ALTER POLICY own_tenant ON {table} USING ({condition});" for table in GUARDED)
