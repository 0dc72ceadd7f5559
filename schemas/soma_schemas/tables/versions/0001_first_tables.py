"""The first tables: memories with their history and links, watermarks, dead letters, API keys, the audit log.

Two decisions that the indexes below follow from:

Readers are held to their tenant by row-level security, and PostgreSQL then uses an index only for conditions
whose operators are marked leakproof. Comparisons of text, uuid, numbers and times are; those of arrays and
jsonb are not. So a namespace prefix is a range of text (`namespace = 'a' OR namespace >= 'a/' AND
namespace < 'a0'`, which collation "C" makes exact), not a containment in an array of ancestors, and tags are
looked up through a function of the owner.

A memory's key or coordinate gives its id (`soma_schemas.identity`), so looking one up is reading the primary
key, and neither has an index for equality.
"""

from soma_schemas.tables.roles import SINKS_AND_READERS
from soma_schemas.tables.statements import run

revision = "0001"
down_revision = None

RIGHTS = """
GRANT USAGE ON SCHEMA public TO soma_sinks, soma_readers;
GRANT SELECT ON alembic_version TO soma_sinks, soma_readers;
"""

MEMORIES = """
CREATE TABLE memories (
    tenant text COLLATE "C" NOT NULL,
    memory_id uuid NOT NULL,
    version bigint NOT NULL,
    deleted_version bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL,
    created_at timestamptz,
    occurred_at timestamptz,
    expires_at timestamptz,
    last_accessed_at timestamptz,
    access_count bigint,
    importance double precision,
    deleted boolean NOT NULL,
    recent_event_ids uuid[] NOT NULL,
    namespace text COLLATE "C",
    key text COLLATE "C",
    coordinate double precision[],
    kind text,
    text text,
    payload jsonb,
    tags text[] COLLATE "C",
    embedding real[] STORAGE EXTERNAL,  -- floats do not compress, so trying is waste
    embedding_model text,
    subject text COLLATE "C",
    actor text,
    PRIMARY KEY (tenant, memory_id),
    CONSTRAINT memories_are_whole_or_gone CHECK (
        CASE WHEN deleted THEN
            num_nonnulls(
                namespace, key, coordinate, kind, text, payload, tags, importance, embedding, embedding_model,
                subject, expires_at, occurred_at, actor, created_at, access_count, last_accessed_at
            ) = 0
        ELSE
            num_nulls(
                namespace, kind, text, payload, tags, importance, occurred_at, actor, created_at, access_count
            ) = 0
        END
    )
);
COMMENT ON TABLE memories IS 'One row per memory, or its tombstone. Written by the Postgres sink alone.';
COMMENT ON COLUMN memories.version IS 'Of the last event applied: epoch * 2^40 + offset. Never decreases.';
COMMENT ON COLUMN memories.deleted_version IS 'Of the last deletion or new owner: older links are dead.';
COMMENT ON COLUMN memories.updated_at IS 'When the log received the last change or the deletion.';
COMMENT ON COLUMN memories.recent_event_ids IS
    'The last 16 events applied, newest first: coming again, they change nothing.';

-- Lists of one namespace in order of change; the first two columns serve prefixes, other orders and counts.
CREATE INDEX memories_by_namespace ON memories (tenant, namespace, updated_at, memory_id) WHERE NOT deleted;
-- Pages of a whole tenant or a wide prefix, in each order that a list can have.
CREATE INDEX memories_by_update ON memories (tenant, updated_at, memory_id) WHERE NOT deleted;
CREATE INDEX memories_by_creation ON memories (tenant, created_at, memory_id) WHERE NOT deleted;
CREATE INDEX memories_by_occurrence ON memories (tenant, occurred_at, memory_id) WHERE NOT deleted;
-- Boxes: the first two dimensions bound the scan, the others are looked at.
CREATE INDEX memories_by_coordinate ON memories (tenant, namespace, (coordinate[1]), (coordinate[2]))
    WHERE coordinate IS NOT NULL;
-- The tenant stands among the tags, so that one tenant's common tag costs another nothing.
CREATE INDEX memories_by_tag ON memories USING gin ((array_prepend(tenant, tags))) WHERE NOT deleted;
CREATE INDEX memories_by_subject ON memories (tenant, subject) WHERE subject IS NOT NULL;
CREATE INDEX memories_by_expiry ON memories (expires_at) WHERE expires_at IS NOT NULL;

GRANT SELECT, INSERT, UPDATE ON memories TO soma_sinks;
GRANT SELECT ON memories TO soma_readers;

CREATE FUNCTION soma_tagged_memories(wanted text[], most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    SELECT memory_id FROM public.memories
    WHERE NOT deleted
        AND tenant = current_setting('soma.tenant', true)
        AND array_prepend(tenant, tags) @> array_prepend(current_setting('soma.tenant', true), wanted)
    LIMIT most;
END;
COMMENT ON FUNCTION soma_tagged_memories IS
    'At most that many memories of the current tenant with all these tags. When it returns as many as were '
    'allowed, the tags are common and filtering a list in its order is faster than joining these ids.';
REVOKE ALL ON FUNCTION soma_tagged_memories FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_tagged_memories TO soma_readers;
"""

HISTORY = """
CREATE TABLE memory_history (
    partition integer NOT NULL,
    version bigint NOT NULL,
    logged_at timestamptz NOT NULL,
    occurred_at timestamptz,
    tenant text COLLATE "C",
    memory_id uuid,
    event_id uuid,
    event_type text,
    namespace text COLLATE "C",
    actor text,
    outcome text NOT NULL CHECK (outcome IN ('applied', 'superseded', 'dead_lettered')),
    reason text,
    error_code text,
    content jsonb,
    PRIMARY KEY (partition, version, logged_at)
) PARTITION BY RANGE (logged_at);
COMMENT ON TABLE memory_history IS 'What became of every event: one row per position of memory.events.';
COMMENT ON COLUMN memory_history.logged_at IS 'When the log received it first, also for a replay.';
COMMENT ON COLUMN memory_history.reason IS 'Why it was superseded.';
COMMENT ON COLUMN memory_history.error_code IS 'Why it was dead-lettered.';
COMMENT ON COLUMN memory_history.content IS
    'What an applied MemoryStored or MemoryPatched said, without the embedding; of a patch what it named.';
CREATE INDEX memory_history_by_memory ON memory_history (tenant, memory_id, version);

GRANT SELECT, INSERT, UPDATE ON memory_history TO soma_sinks;
GRANT SELECT ON memory_history TO soma_readers;

CREATE FUNCTION soma_ensure_history_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    first date := date_trunc('month', month::timestamp)::date;
    child text := 'memory_history_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass('public.' || child) IS NOT NULL THEN
        RETURN;
    END IF;
    IF first < date '2000-01-01' OR first >= date '2200-01-01' THEN
        -- Bounds how many partitions wrong clocks and forged headers can make.
        RAISE EXCEPTION 'no event was logged in %', first USING ERRCODE = 'datetime_field_overflow';
    END IF;
    -- What ATTACH takes anyhow: one caller at a time, no reader or writer waits. Not an advisory lock, after
    -- which the session would still remember that the partition was not there.
    LOCK TABLE public.memory_history IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass('public.' || child) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Made apart and attached: CREATE ... PARTITION OF would lock readers and writers of every month out.
    EXECUTE format('CREATE TABLE public.%I (LIKE public.memory_history INCLUDING ALL)', child);
    EXECUTE format(
        'ALTER TABLE public.memory_history ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
        child, first || ' 00:00+00', (first + interval '1 month')::date || ' 00:00+00'
    );
END
$$;
COMMENT ON FUNCTION soma_ensure_history_partition IS 'Makes the partition of a month (UTC) that has none.';
REVOKE ALL ON FUNCTION soma_ensure_history_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_ensure_history_partition TO soma_sinks;
"""

LINKS = """
CREATE TABLE memory_links (
    tenant text COLLATE "C" NOT NULL,
    from_memory_id uuid NOT NULL,
    link_type text COLLATE "C" NOT NULL,
    to_memory_id uuid NOT NULL,
    weight double precision,
    version bigint NOT NULL,
    deleted boolean NOT NULL,
    PRIMARY KEY (tenant, from_memory_id, link_type, to_memory_id),
    CONSTRAINT living_links_have_a_weight CHECK (deleted OR weight IS NOT NULL)
);
COMMENT ON TABLE memory_links IS 'One row per edge, or its tombstone.';
COMMENT ON COLUMN memory_links.version IS 'Of the last event about this edge.';
COMMENT ON COLUMN memory_links.deleted IS 'Unlinked, or older than the last deletion of its memory.';
CREATE INDEX memory_links_by_target ON memory_links (tenant, to_memory_id, link_type) WHERE NOT deleted;

GRANT SELECT, INSERT, UPDATE ON memory_links TO soma_sinks;
GRANT SELECT ON memory_links TO soma_readers;
"""

WATERMARKS = """
CREATE TABLE sink_watermarks (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch integer NOT NULL,
    next_offset bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
);
COMMENT ON TABLE sink_watermarks IS 'How far each sink has come; told on channel soma_watermarks.';

GRANT SELECT, INSERT, UPDATE ON sink_watermarks TO soma_sinks;
GRANT SELECT ON sink_watermarks TO soma_readers;
"""

DEAD_LETTERS = """
CREATE TABLE dead_letters (
    id uuid PRIMARY KEY,
    tenant text COLLATE "C",
    memory_id uuid,
    consumer_group text,
    topic text,
    partition integer,
    log_offset bigint,
    epoch integer,
    logged_at timestamptz,
    dlq_partition integer NOT NULL,
    dlq_offset bigint NOT NULL,
    stage text,
    error_class text,
    code text NOT NULL,
    message text NOT NULL,
    attempts integer,
    first_failed_at timestamptz,
    application_version text,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'replayed', 'discarded')),
    status_changed_at timestamptz
);
COMMENT ON TABLE dead_letters IS 'An index of the dead-letter topic, which holds the events themselves.';
COMMENT ON COLUMN dead_letters.log_offset IS
    'Where the original lies; null, like others, when its headers do not say.';
CREATE INDEX dead_letters_by_tenant ON dead_letters (tenant, first_failed_at, id);
CREATE INDEX dead_letters_by_position ON dead_letters (topic, partition, log_offset);
CREATE INDEX dead_letters_by_place ON dead_letters (dlq_partition, dlq_offset);

GRANT SELECT, INSERT, UPDATE ON dead_letters TO soma_sinks;
GRANT SELECT ON dead_letters TO soma_readers;
"""

CONTROL = """
CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    role text NOT NULL CHECK (role IN ('reader', 'writer', 'operator', 'admin')),
    namespaces text[],
    secret_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    label text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN api_keys.namespaces IS 'What the key opens, each with all below it; null is everything.';

CREATE FUNCTION soma_find_api_key(wanted text) RETURNS TABLE (
    key_id text,
    tenant text,
    role text,
    namespaces text[],
    secret_hash bytea,
    created_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    label text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    SELECT k.key_id, k.tenant, k.role, k.namespaces, k.secret_hash, k.created_at, k.expires_at, k.revoked_at,
        k.label
    FROM public.api_keys AS k WHERE k.key_id = wanted;
END;
COMMENT ON FUNCTION soma_find_api_key IS 'One key, before its tenant is known; the table itself is closed.';
REVOKE ALL ON FUNCTION soma_find_api_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_find_api_key TO soma_readers;

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at timestamptz NOT NULL DEFAULT now(),
    tenant text COLLATE "C",
    actor text NOT NULL,
    action text NOT NULL,
    subject text,
    details jsonb NOT NULL DEFAULT '{}',
    request_id text
);
COMMENT ON TABLE audit_log IS 'Who did what with control data. Processes may add to it and change nothing.';
CREATE INDEX audit_log_by_tenant ON audit_log (tenant, id);

GRANT INSERT ON audit_log TO soma_sinks, soma_readers;
"""

# Not FORCE: the owner migrates and backs up all tenants, and no process of ours logs in as the owner.
ROW_LEVEL_SECURITY = """
DO $$
DECLARE guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['memories', 'memory_history', 'memory_links', 'dead_letters'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('CREATE POLICY every_tenant ON %I TO soma_sinks USING (true)', guarded);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I FOR SELECT TO soma_readers '
            'USING (tenant = current_setting(''soma.tenant'', true))', guarded
        );
    END LOOP;
END
$$;
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY every_tenant ON audit_log FOR INSERT TO soma_sinks WITH CHECK (true);
CREATE POLICY own_tenant ON audit_log FOR INSERT TO soma_readers
    WITH CHECK (tenant = current_setting('soma.tenant', true));
"""


def upgrade() -> None:
    for statements in (
        SINKS_AND_READERS,
        RIGHTS,
        MEMORIES,
        HISTORY,
        LINKS,
        WATERMARKS,
        DEAD_LETTERS,
        CONTROL,
        ROW_LEVEL_SECURITY,
    ):
        run(statements)


def downgrade() -> None:
    # The roles stay: they belong to the cluster, and other databases may use them.
    run("""
    DROP FUNCTION soma_find_api_key, soma_ensure_history_partition, soma_tagged_memories;
    DROP TABLE audit_log, api_keys, dead_letters, sink_watermarks, memory_links, memory_history, memories;
    REVOKE ALL ON alembic_version FROM soma_sinks, soma_readers;
    REVOKE USAGE ON SCHEMA public FROM soma_sinks, soma_readers;
    DO $$ BEGIN
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM soma_sinks', current_database());
    END $$;
    """)
