"""How many memories a namespace may have, and a way to those of it that matter least."""

from soma_schemas.tables.statements import run

revision = "0012"
down_revision = "0011"

CAPS = """
ALTER TABLE retention_policies ADD COLUMN cap jsonb;
COMMENT ON COLUMN retention_policies.cap IS 'How many memories each namespace may have; null: any number.';
ALTER TABLE retention_notices ADD COLUMN seen_updated_at timestamptz;
COMMENT ON COLUMN retention_notices.seen_updated_at IS
    'Of a notice because of a cap: when the memory had last changed. Null: because of a deadline.';
-- What goes first above a cap.
CREATE INDEX memories_by_importance ON memories (tenant, namespace, importance, updated_at, memory_id)
    WHERE NOT deleted;
"""


def upgrade() -> None:
    run(CAPS)


def downgrade() -> None:
    run("""
    DROP INDEX memories_by_importance;
    ALTER TABLE retention_notices DROP COLUMN seen_updated_at;
    ALTER TABLE retention_policies DROP COLUMN cap;
    """)
