"""A key can have two secrets for a time, so that it is rotated without a gap; and it says when it was used.

The API looks a key up and notes its use through functions of the owner: it can read and change nothing else
of the keys.
"""

from soma_schemas.tables.statements import run

revision = "0016"
down_revision = "0015"

COLUMNS = """
ALTER TABLE api_keys
    ADD COLUMN rotated_at timestamptz,
    ADD COLUMN former_secret_hash bytea,
    ADD COLUMN former_expires_at timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN former_last_used_at timestamptz,
    ADD CONSTRAINT former_secrets_end CHECK ((former_secret_hash IS NULL) = (former_expires_at IS NULL));
COMMENT ON COLUMN api_keys.former_secret_hash IS 'Of the secret before the last rotation.';
COMMENT ON COLUMN api_keys.former_expires_at IS 'Until when the former secret is good.';
COMMENT ON COLUMN api_keys.last_used_at IS 'With either secret; to the minute.';
COMMENT ON COLUMN api_keys.former_last_used_at IS 'With the former secret; to the minute.';
"""

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
    label text{more}
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    SELECT k.key_id, k.tenant, k.role, k.namespaces, k.secret_hash, k.created_at, k.expires_at, k.revoked_at,
        k.label{more_columns}
    FROM public.api_keys AS k WHERE k.key_id = wanted;
END;
COMMENT ON FUNCTION soma_find_api_key IS 'One key, before its tenant is known; the table itself is closed.';
REVOKE ALL ON FUNCTION soma_find_api_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_find_api_key TO soma_readers;
"""

NOTE = """
CREATE FUNCTION soma_note_key_uses(ids text[], former boolean[], moments timestamptz[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    -- In the order of the ids, so that two callers wait for each other and never both.
    WITH noted AS (
        SELECT given.id, max(least(given.at, now())) AS used,
            max(least(given.at, now())) FILTER (WHERE given.of_former) AS former_used
        FROM unnest(ids, former, moments) AS given (id, of_former, at)
        GROUP BY given.id
    ), locked AS (
        SELECT k.key_id, noted.used, noted.former_used
        FROM public.api_keys AS k JOIN noted ON noted.id = k.key_id
        -- One row a minute, however many processes tell of the key.
        WHERE k.last_used_at IS NULL OR k.last_used_at < noted.used - interval '50 seconds'
            OR (noted.former_used IS NOT NULL AND k.former_secret_hash IS NOT NULL AND (
                k.former_last_used_at IS NULL
                OR k.former_last_used_at < noted.former_used - interval '50 seconds'
            ))
        ORDER BY k.key_id
        FOR NO KEY UPDATE OF k
    )
    UPDATE public.api_keys AS k SET
        last_used_at = greatest(k.last_used_at, locked.used),
        former_last_used_at = greatest(k.former_last_used_at, locked.former_used)
    FROM locked WHERE k.key_id = locked.key_id;
END;
COMMENT ON FUNCTION soma_note_key_uses IS 'Notes when keys were used, and with which secret.';
REVOKE ALL ON FUNCTION soma_note_key_uses FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_note_key_uses TO soma_readers;
"""


def upgrade() -> None:
    run(COLUMNS)
    run(
        FIND.format(
            more=",\n    former_secret_hash bytea,\n    former_expires_at timestamptz",
            more_columns=", k.former_secret_hash, k.former_expires_at",
        )
    )
    run(NOTE)


def downgrade() -> None:
    run("DROP FUNCTION soma_note_key_uses;")
    run(FIND.format(more="", more_columns=""))
    run("""
    ALTER TABLE api_keys DROP CONSTRAINT former_secrets_end, DROP COLUMN rotated_at,
        DROP COLUMN former_secret_hash, DROP COLUMN former_expires_at, DROP COLUMN last_used_at,
        DROP COLUMN former_last_used_at;
    """)
