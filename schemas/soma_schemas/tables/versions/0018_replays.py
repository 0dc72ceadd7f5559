"""Where a replayed dead letter was applied: whoever follows changes has passed its first place by then."""

from soma_schemas.tables.statements import run

revision = "0018"
down_revision = "0017"

REPLAYS = """
CREATE TABLE memory_replays (
    at_partition integer NOT NULL,
    at_version bigint NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    version bigint NOT NULL,
    logged_at timestamptz NOT NULL,
    PRIMARY KEY (at_partition, at_version)
);
COMMENT ON TABLE memory_replays IS
    'Events applied when a dead letter of them was published again: where, and their row of the history.';
GRANT SELECT, INSERT ON memory_replays TO soma_sinks;
GRANT SELECT ON memory_replays TO soma_readers;
ALTER TABLE memory_replays ENABLE ROW LEVEL SECURITY;
CREATE POLICY every_tenant ON memory_replays TO soma_sinks USING (true);
CREATE POLICY own_tenant ON memory_replays FOR SELECT TO soma_readers
    USING (coalesce(tenant = current_setting('soma.tenant', true), false));
"""


def upgrade() -> None:
    run(REPLAYS)


def downgrade() -> None:
    run("DROP TABLE memory_replays;")
