"""What has ended in one tenant is counted without a look at what has ended in others."""

from soma_schemas.tables.statements import run

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run("""
    CREATE INDEX memories_by_tenant_expiry ON memories (tenant, expires_at)
        WHERE expires_at IS NOT NULL AND NOT deleted;
    """)


def downgrade() -> None:
    run("DROP INDEX memories_by_tenant_expiry;")
