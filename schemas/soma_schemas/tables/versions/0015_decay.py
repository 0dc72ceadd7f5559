"""What has lived as long as a policy lets it is found by an index, whether importance decides that or not.

Importance counts in hundredths, so that a namespace has few lifetimes, each the beginning of a range of the
index. A column holds them: readers are held to operators that leak nothing, and no computation is one.
"""

from soma_schemas.tables.statements import run

revision = "0015"
down_revision = "0014"

LIFETIMES = """
ALTER TABLE memories ADD COLUMN importance_hundredths smallint
    GENERATED ALWAYS AS (round(importance * 100)::smallint) STORED;
COMMENT ON COLUMN memories.importance_hundredths IS 'The importance as retention counts it.';
CREATE INDEX memories_by_lifetime ON memories (
    tenant, namespace, kind, importance_hundredths, updated_at, memory_id
) WHERE expires_at IS NULL AND NOT deleted;

-- As `soma_schemas.retention` computes it. Without limits it is null.
CREATE FUNCTION soma_cutoff(
    now timestamptz, cutoff timestamptz, half_life bigint, lowest float8, shortest bigint, hundredths smallint
) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN greatest(
    cutoff,
    now - greatest(
        shortest,
        floor(half_life * (ln(greatest(hundredths / 100::float8, lowest) / lowest) / ln(2::float8)) + 0.001)
    ) * interval '1 second'
);
COMMENT ON FUNCTION soma_cutoff IS 'The last change at which memories of an importance have ended.';

-- From one to the next through the index, however many memories have the same.
CREATE FUNCTION soma_importances(of_tenant text, of_namespace text, of_kind text) RETURNS SETOF smallint
LANGUAGE sql STABLE PARALLEL SAFE SET enable_seqscan = off
BEGIN ATOMIC
    WITH RECURSIVE found (hundredths) AS (
        (
            SELECT importance_hundredths FROM memories
            WHERE tenant = of_tenant AND namespace = of_namespace AND kind = of_kind
                AND expires_at IS NULL AND NOT deleted
            ORDER BY importance_hundredths
            LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT importance_hundredths FROM memories
            WHERE tenant = of_tenant AND namespace = of_namespace AND kind = of_kind
                AND expires_at IS NULL AND NOT deleted
                AND importance_hundredths > found.hundredths
            ORDER BY importance_hundredths
            LIMIT 1
        )
        FROM found WHERE found.hundredths IS NOT NULL
    )
    SELECT hundredths FROM found WHERE hundredths IS NOT NULL;
END;
COMMENT ON FUNCTION soma_importances IS
    'The importances, in hundredths, of memories of a kind in a namespace without deadlines of their own.';
REVOKE ALL ON FUNCTION soma_cutoff, soma_importances FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_cutoff, soma_importances TO soma_sinks, soma_readers;
"""


def upgrade() -> None:
    run(LIFETIMES)


def downgrade() -> None:
    run("""
    DROP FUNCTION soma_cutoff, soma_importances;
    DROP INDEX memories_by_lifetime;
    ALTER TABLE memories DROP COLUMN importance_hundredths;
    """)
