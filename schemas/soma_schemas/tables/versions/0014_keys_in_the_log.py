"""Whether the log has a data key as the table has it; erasures that a restored database carries out again.

A completed erasure that the log tells of, and these tables have not carried out, may name who was erased by a
digest alone. What it selects is hidden by that digest until it is carried out here too.
"""

from soma_schemas.tables.statements import run

revision = "0014"
down_revision = "0013"

KEYS = """
ALTER TABLE data_keys ADD COLUMN logged_at timestamptz;
COMMENT ON COLUMN data_keys.logged_at IS
    'When the log got it as it is here, wrapped or destroyed; null: it has yet to.';
CREATE INDEX data_keys_by_logging ON data_keys (logged_at, key_id);

-- Whoever makes a key brings it to the log, and notes that it is there.
GRANT UPDATE (logged_at) ON data_keys TO soma_readers, soma_producers, soma_operators;
CREATE POLICY own_tenant_logs ON data_keys FOR UPDATE TO soma_readers, soma_producers
    USING (coalesce(tenant = current_setting('soma.tenant', true), false) AND retired_at IS NULL);
CREATE POLICY operators_log ON data_keys FOR UPDATE TO soma_operators USING (retired_at IS NULL);
"""

ERASURES = """
ALTER TABLE erasures
    DROP CONSTRAINT completed_erasures_name_nobody,
    ADD CONSTRAINT completed_erasures_name_nobody CHECK (
        CASE WHEN state = 'completed'
        THEN selector IS NULL AND receipt IS NOT NULL AND completed_at IS NOT NULL
        WHEN receipt IS NULL THEN (scope = 'TENANT') = (selector IS NULL)
        ELSE scope <> 'TENANT' OR selector IS NULL END
    );
COMMENT ON COLUMN erasures.selector IS
    'Null for a tenant, for a complete erasure, and while only the digest is known of who was erased.';

CREATE FUNCTION soma_selects(held public.erasures, candidate text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN held.selector IS NOT NULL THEN candidate = held.selector
    ELSE encode(sha256(convert_to(held.request_id || ':' || candidate, 'UTF8')), 'hex')
        = held.selector_sha256 END
$$;
COMMENT ON FUNCTION soma_selects IS 'Whether an erasure is about this subject, memory or namespace.';

CREATE FUNCTION soma_selects_within(held public.erasures, namespace text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT bool_or(public.soma_selects(held, array_to_string(parts[:depth], '/')))
    FROM string_to_array(namespace, '/') AS parts, generate_series(1, cardinality(parts)) AS depth
$$;
COMMENT ON FUNCTION soma_selects_within IS 'Whether an erasure is about this namespace or one above it.';

CREATE OR REPLACE FUNCTION soma_is_erased(memory public.memories) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM public.erasures AS held
        WHERE held.tenant = memory.tenant AND held.state <> 'completed' AND CASE held.scope
            WHEN 'SUBJECT' THEN public.soma_selects(held, memory.subject)
            WHEN 'MEMORY' THEN public.soma_selects(held, memory.memory_id::text)
            WHEN 'NAMESPACE' THEN public.soma_selects_within(held, memory.namespace)
            ELSE true
        END
    );
END
$$;

CREATE OR REPLACE FUNCTION soma_is_erased(counted public.namespace_counts) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM public.erasures AS held
        WHERE held.tenant = counted.tenant AND held.state <> 'completed' AND CASE held.scope
            WHEN 'NAMESPACE' THEN public.soma_selects_within(held, counted.namespace)
            ELSE held.scope = 'TENANT'
        END
    );
END
$$;

REVOKE ALL ON FUNCTION soma_selects, soma_selects_within FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_selects, soma_selects_within TO soma_sinks;
"""


def upgrade() -> None:
    run(KEYS)
    run(ERASURES)


def downgrade() -> None:
    run("""
    DELETE FROM erasures WHERE state <> 'completed' AND receipt IS NOT NULL AND selector IS NULL
        AND scope <> 'TENANT';
    CREATE OR REPLACE FUNCTION soma_is_erased(memory public.memories) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS $$
    BEGIN
        RETURN EXISTS (
            SELECT FROM public.erasures
            WHERE tenant = memory.tenant AND state <> 'completed' AND CASE scope
                WHEN 'SUBJECT' THEN memory.subject = selector
                WHEN 'MEMORY' THEN memory.memory_id::text = selector
                WHEN 'NAMESPACE'
                THEN memory.namespace = selector OR starts_with(memory.namespace, selector || '/')
                ELSE true
            END
        );
    END
    $$;
    CREATE OR REPLACE FUNCTION soma_is_erased(counted public.namespace_counts) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS $$
    BEGIN
        RETURN EXISTS (
            SELECT FROM public.erasures
            WHERE tenant = counted.tenant AND state <> 'completed' AND CASE scope
                WHEN 'NAMESPACE'
                THEN counted.namespace = selector OR starts_with(counted.namespace, selector || '/')
                ELSE scope = 'TENANT'
            END
        );
    END
    $$;
    DROP FUNCTION soma_selects_within, soma_selects;
    ALTER TABLE erasures
        DROP CONSTRAINT completed_erasures_name_nobody,
        ADD CONSTRAINT completed_erasures_name_nobody CHECK (
            CASE WHEN state = 'completed'
            THEN selector IS NULL AND receipt IS NOT NULL AND completed_at IS NOT NULL
            ELSE (scope = 'TENANT') = (selector IS NULL) END
        );
    COMMENT ON COLUMN erasures.selector IS NULL;
    DROP POLICY operators_log ON data_keys;
    DROP POLICY own_tenant_logs ON data_keys;
    REVOKE UPDATE (logged_at) ON data_keys FROM soma_readers, soma_producers, soma_operators;
    ALTER TABLE data_keys DROP COLUMN logged_at;
    """)
