"""Backups that were made, so that somebody hears of it when the newest is old."""

from soma_schemas.tables.statements import run

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run("""
    CREATE TABLE backups (
        made_at timestamptz PRIMARY KEY,
        sha256 text NOT NULL
    );
    COMMENT ON TABLE backups IS 'Backups that were whole when made, or from which the tables came back.';
    COMMENT ON COLUMN backups.made_at IS 'When the snapshot was taken.';
    COMMENT ON COLUMN backups.sha256 IS 'Of the dump within the archive.';
    INSERT INTO backups SELECT happened_at, subject FROM audit_log WHERE action = 'backup.made'
    ON CONFLICT DO NOTHING;
    GRANT SELECT ON backups TO soma_sinks;
    """)


def downgrade() -> None:
    run("DROP TABLE backups;")
