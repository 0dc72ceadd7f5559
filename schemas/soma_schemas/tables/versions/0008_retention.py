"""Retention: the policies in force, who was told of an end to come, and last states on their way to the log.

The sink of memory events puts the last state of an expired memory into the outbox in the transaction that
ends the memory; the retention worker takes it to `memory.expired` and out of the table.
"""

from soma_schemas.tables.statements import run

revision = "0008"
down_revision = "0007"

TABLES = """
CREATE TABLE retention_policies (
    tenant text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    rules jsonb NOT NULL,
    actor text NOT NULL,
    set_at timestamptz NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant, namespace)
);
COMMENT ON TABLE retention_policies IS 'The policies in force, as memory.policies tells them.';
COMMENT ON COLUMN retention_policies.namespace IS 'With all below it; empty for the whole tenant.';
COMMENT ON COLUMN retention_policies.version IS 'Of the event: epoch * 2^40 + offset in memory.policies.';

CREATE TABLE retention_notices (
    tenant text COLLATE "C" NOT NULL,
    memory_id uuid NOT NULL,
    deadline timestamptz NOT NULL,
    told_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, memory_id, deadline)
);
COMMENT ON TABLE retention_notices IS
    'Notices that are in memory.expiring; kept until their deadline has passed.';
CREATE INDEX retention_notices_by_deadline ON retention_notices (deadline);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    memory_id uuid NOT NULL,
    event_id uuid NOT NULL,
    content jsonb NOT NULL
);
COMMENT ON TABLE outbox IS
    'Last states of expired memories that are not in memory.expired yet, oldest first.';
COMMENT ON COLUMN outbox.event_id IS 'Of the expiry; what is published bears it.';
CREATE INDEX outbox_by_memory ON outbox (tenant, memory_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON retention_policies TO soma_sinks;
GRANT SELECT, INSERT, DELETE ON retention_notices, outbox TO soma_sinks;
GRANT SELECT ON retention_policies TO soma_readers;

DO $$
DECLARE guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['retention_policies', 'retention_notices', 'outbox'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('CREATE POLICY every_tenant ON %I TO soma_sinks USING (true)', guarded);
    END LOOP;
END
$$;
CREATE POLICY own_tenant ON retention_policies FOR SELECT TO soma_readers
    USING (coalesce(tenant = current_setting('soma.tenant', true), false));
"""


def upgrade() -> None:
    run(TABLES)


def downgrade() -> None:
    run("DROP TABLE outbox, retention_notices, retention_policies;")
