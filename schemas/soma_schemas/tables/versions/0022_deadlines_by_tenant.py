"""What has ended in one tenant is counted without a look at what has ended in others.

A reader whose condition fits `memories_by_expiry` too may be led through all tenants by it, so this index has
words of its own, which do not.
"""

from soma_schemas.tables.statements import run

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run("""
    CREATE INDEX memories_by_tenant_expiry ON memories (tenant, coalesce(expires_at, 'infinity'))
        WHERE NOT deleted AND coalesce(expires_at, 'infinity') < 'infinity';
    """)


def downgrade() -> None:
    run("DROP INDEX memories_by_tenant_expiry;")
