"""Links remember the events that were applied to them, as memories do: a repetition changes nothing."""

from soma_schemas.tables.statements import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run("""
    ALTER TABLE memory_links ADD COLUMN recent_event_ids uuid[] NOT NULL DEFAULT '{}';
    COMMENT ON COLUMN memory_links.recent_event_ids IS 'The last events applied, newest first.';
    """)


def downgrade() -> None:
    run("ALTER TABLE memory_links DROP COLUMN recent_event_ids;")
