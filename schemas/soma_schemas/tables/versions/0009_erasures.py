"""Erasures: what was asked to be gone, how far that is, and the proof; and readers that stop at once.

What an open erasure selects is hidden from readers by the policies of the tables themselves, so that no
statement can forget it. Whether a tenant has an open erasure at all is asked once for a statement; only then
each row is compared.

A dead letter that was erased keeps its row, so that reading the dead-letter topic again does not bring it
back. Nobody but the sinks sees it: it can be neither listed nor shown nor replayed.
"""

from soma_schemas.tables.statements import run

revision = "0009"
down_revision = "0008"

TABLES = """
CREATE TABLE erasures (
    tenant text COLLATE "C" NOT NULL,
    request_id uuid NOT NULL,
    scope text NOT NULL CHECK (scope IN ('SUBJECT', 'MEMORY', 'NAMESPACE', 'TENANT')),
    selector text COLLATE "C",
    selector_sha256 text,
    actor text NOT NULL,
    requested_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    before_versions bigint[] NOT NULL,
    state text NOT NULL
        CHECK (state IN ('accepted', 'deleting', 'clearing', 'verifying', 'signed', 'completed')),
    waits_for text,
    memories bigint NOT NULL DEFAULT 0,
    history_rows bigint NOT NULL DEFAULT 0,
    links bigint NOT NULL DEFAULT 0,
    dead_letters bigint NOT NULL DEFAULT 0,
    outbox_rows bigint NOT NULL DEFAULT 0,
    notices bigint NOT NULL DEFAULT 0,
    index_points bigint,
    index_points_left bigint,
    completed_at timestamptz,
    receipt text,
    PRIMARY KEY (tenant, request_id),
    CONSTRAINT completed_erasures_name_nobody CHECK (
        CASE WHEN state = 'completed'
        THEN selector IS NULL AND receipt IS NOT NULL AND completed_at IS NOT NULL
        ELSE (scope = 'TENANT') = (selector IS NULL) END
    )
);
COMMENT ON TABLE erasures IS
    'Requests for erasure as memory.erasures tells them, their progress, and receipts.';
COMMENT ON COLUMN erasures.before_versions IS
    'By partition of memory.events: what is older was in the log when the request was accepted.';
COMMENT ON COLUMN erasures.waits_for IS 'What keeps it from going on; null when nothing does.';
COMMENT ON COLUMN erasures.index_points IS 'How many points the vector worker looked at; null before it has.';
COMMENT ON COLUMN erasures.index_points_left IS 'Those of them that held content.';
CREATE INDEX erasures_open ON erasures (tenant) WHERE state <> 'completed';
CREATE INDEX erasures_by_time ON erasures (tenant, requested_at, request_id);

CREATE TABLE erasure_targets (
    tenant text COLLATE "C" NOT NULL,
    request_id uuid NOT NULL,
    memory_id uuid NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant, request_id, memory_id),
    FOREIGN KEY (tenant, request_id) REFERENCES erasures ON DELETE CASCADE
);
COMMENT ON TABLE erasure_targets IS
    'The memories of open erasures; their ids go when the erasure is complete.';
COMMENT ON COLUMN erasure_targets.version IS 'The last that was seen alive.';

GRANT SELECT, INSERT, UPDATE ON erasures TO soma_sinks;
GRANT SELECT, INSERT, UPDATE, DELETE ON erasure_targets TO soma_sinks;
GRANT DELETE ON memory_links TO soma_sinks;
GRANT SELECT ON erasures TO soma_readers;

ALTER TABLE erasures ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasure_targets ENABLE ROW LEVEL SECURITY;
CREATE POLICY every_tenant ON erasures TO soma_sinks USING (true);
CREATE POLICY every_tenant ON erasure_targets TO soma_sinks USING (true);
CREATE POLICY own_tenant ON erasures FOR SELECT TO soma_readers
    USING (coalesce(tenant = current_setting('soma.tenant', true), false));
"""

OWN = "coalesce(tenant = current_setting('soma.tenant', true), false)"
# Taken as a whole row, so that the policies hang on no column, and inside of functions, so that no plan of a
# reader's statement has anything of it; these keep theirs as long as the session.
HIDING = """
CREATE FUNCTION soma_erasing() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM public.erasures
        WHERE tenant = current_setting('soma.tenant', true) AND state <> 'completed'
    );
END
$$;
COMMENT ON FUNCTION soma_erasing IS 'Whether the current tenant has an erasure that is not complete.';

CREATE FUNCTION soma_is_erased(memory public.memories) RETURNS boolean
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
COMMENT ON FUNCTION soma_is_erased(public.memories) IS 'Whether an erasure that is not complete selects it.';

CREATE FUNCTION soma_is_erased(counted public.namespace_counts) RETURNS boolean
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
COMMENT ON FUNCTION soma_is_erased(public.namespace_counts) IS
    'Whether an erasure that is not complete selects all of the namespace.';

REVOKE ALL ON FUNCTION soma_erasing, soma_is_erased(public.memories), soma_is_erased(public.namespace_counts)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    soma_erasing, soma_is_erased(public.memories), soma_is_erased(public.namespace_counts) TO soma_readers;
"""
HIDING_TABLES = ("memories", "namespace_counts")
ERASED = "status <> 'erased'"


def upgrade() -> None:
    run(TABLES)
    run(HIDING)
    for table in HIDING_TABLES:
        # Asked once for a statement, and only then each row.
        hidden = f"(SELECT soma_erasing()) AND soma_is_erased({table})"
        run(f"ALTER POLICY own_tenant ON {table} USING ({OWN} AND NOT ({hidden}));")
    run(f"""
    ALTER TABLE dead_letters
        DROP CONSTRAINT dead_letters_status_check,
        ADD CONSTRAINT dead_letters_status_check
            CHECK (status IN ('open', 'replayed', 'discarded', 'erased')) NOT VALID;
    ALTER TABLE dead_letters VALIDATE CONSTRAINT dead_letters_status_check;
    ALTER POLICY own_tenant ON dead_letters USING ({OWN} AND {ERASED});
    ALTER POLICY operators_every_tenant ON dead_letters USING ({ERASED});
    """)


def downgrade() -> None:
    run(f"""
    ALTER POLICY operators_every_tenant ON dead_letters USING (true);
    ALTER POLICY own_tenant ON dead_letters USING ({OWN});
    UPDATE dead_letters SET status = 'discarded' WHERE status = 'erased';
    ALTER TABLE dead_letters
        DROP CONSTRAINT dead_letters_status_check,
        ADD CONSTRAINT dead_letters_status_check CHECK (status IN ('open', 'replayed', 'discarded'));
    """)  # noqa: S608  # put together from the constants above
    for table in HIDING_TABLES:
        run(f"ALTER POLICY own_tenant ON {table} USING ({OWN});")
    run("""
    DROP FUNCTION soma_erasing, soma_is_erased(memories), soma_is_erased(namespace_counts);
    REVOKE DELETE ON memory_links FROM soma_sinks;
    DROP TABLE erasure_targets, erasures;
    """)
