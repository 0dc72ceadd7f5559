"""A key may have the memories that it reads counted as accessed."""

from soma_schemas.tables.statements import run

revision = "0021"
down_revision = "0020"

FIND = """
DROP FUNCTION soma_find_api_key;
CREATE FUNCTION soma_find_api_key(wanted text) RETURNS TABLE (
    key_id text,
    tenant text,
    role text,
    namespaces text[],
    secret_hash bytea,
    created_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    label text,
    former_secret_hash bytea,
    former_expires_at timestamptz{more}
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    SELECT k.key_id, k.tenant, k.role, k.namespaces, k.secret_hash, k.created_at, k.expires_at, k.revoked_at,
        k.label, k.former_secret_hash, k.former_expires_at{more_columns}
    FROM public.api_keys AS k WHERE k.key_id = wanted;
END;
COMMENT ON FUNCTION soma_find_api_key IS 'One key, before its tenant is known; the table itself is closed.';
REVOKE ALL ON FUNCTION soma_find_api_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_find_api_key TO soma_readers;
"""


def upgrade() -> None:
    run("""
    ALTER TABLE api_keys ADD COLUMN record_access boolean NOT NULL DEFAULT false;
    COMMENT ON COLUMN api_keys.record_access IS 'Whether what it reads is counted as accessed.';
    """)
    run(FIND.format(more=",\n    record_access boolean", more_columns=", k.record_access"))


def downgrade() -> None:
    run(FIND.format(more="", more_columns=""))
    run("ALTER TABLE api_keys DROP COLUMN record_access;")
