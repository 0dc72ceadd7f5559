"""Data keys: what encrypts the events of a subject, or of a memory; an erasure destroys them.

A key that is destroyed keeps its row, without the key and without whom it was of. So an event that comes late
is known to be erased, and a key that was destroyed is never taken for one that was lost.
"""

from soma_schemas.tables.roles import PRODUCERS
from soma_schemas.tables.statements import run

revision = "0013"
down_revision = "0012"

TABLES = """
CREATE TABLE data_keys (
    key_id uuid PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    subject text COLLATE "C",
    memory_id uuid,
    wrapped bytea,
    master_key_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_by uuid,
    retired_at timestamptz,
    destroyed_at timestamptz,
    CONSTRAINT destroyed_keys_name_nobody CHECK (
        CASE WHEN destroyed_at IS NULL
        THEN num_nonnulls(subject, memory_id) = 1 AND num_nulls(wrapped, master_key_id) = 0
        ELSE num_nonnulls(subject, memory_id, wrapped, master_key_id) = 0 AND retired_at IS NOT NULL END
    )
);
COMMENT ON TABLE data_keys IS 'What encrypts events, wrapped with a master key that the database has not.';
COMMENT ON COLUMN data_keys.subject IS 'Whose events it encrypts; or else those of one memory.';
COMMENT ON COLUMN data_keys.retired_by IS 'The erasure that destroys it; nothing new is encrypted with it.';
CREATE UNIQUE INDEX data_keys_of_subjects ON data_keys (tenant, subject)
    WHERE subject IS NOT NULL AND retired_at IS NULL;
CREATE UNIQUE INDEX data_keys_of_memories ON data_keys (tenant, memory_id)
    WHERE memory_id IS NOT NULL AND retired_at IS NULL;
CREATE INDEX data_keys_by_erasure ON data_keys (tenant, retired_by);
CREATE INDEX data_keys_by_master_key ON data_keys (master_key_id, key_id) WHERE master_key_id IS NOT NULL;

ALTER TABLE erasures ADD COLUMN data_keys bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN erasures.data_keys IS 'How many it has destroyed.';

ALTER TABLE data_keys ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE ON data_keys TO soma_sinks;
CREATE POLICY every_tenant ON data_keys TO soma_sinks USING (true);

-- Whoever publishes reads and makes the keys of one tenant, and changes none.
GRANT SELECT, INSERT ON data_keys TO soma_readers, soma_producers;
CREATE POLICY own_tenant ON data_keys FOR SELECT TO soma_readers, soma_producers
    USING (coalesce(tenant = current_setting('soma.tenant', true), false));
CREATE POLICY own_tenant_makes ON data_keys FOR INSERT TO soma_readers, soma_producers
    WITH CHECK (coalesce(tenant = current_setting('soma.tenant', true), false) AND retired_at IS NULL);

-- Shows what a dead letter holds, to who has the master key too.
GRANT SELECT ON data_keys TO soma_operators;
CREATE POLICY operators_every_tenant ON data_keys FOR SELECT TO soma_operators USING (true);
GRANT INSERT ON data_keys TO soma_operators;
CREATE POLICY operators_make ON data_keys FOR INSERT TO soma_operators WITH CHECK (retired_at IS NULL);
"""


def upgrade() -> None:
    run(PRODUCERS)
    run(TABLES)


def downgrade() -> None:
    # The role stays: it belongs to the cluster, and other databases may use it.
    run("""
    ALTER TABLE erasures DROP COLUMN data_keys;
    DROP TABLE data_keys;
    REVOKE USAGE ON SCHEMA public FROM soma_producers;
    """)
