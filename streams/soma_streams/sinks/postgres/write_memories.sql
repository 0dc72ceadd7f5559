-- Writes the states of memories under guard: every row offered, or none. Where a row changes nothing, because what
-- is held is as new, has seen the event or lies in another namespace, `soma_require_written` raises SM001.
--
-- A row that remembers one event alone was offered without a read: it inherits here what replacing a memory keeps.
-- One that was folded may replace what another namespace put under the id that its key or coordinate gives: whoever
-- folded it has seen to the links of what was there.
-- Rows come in the order of their keys, so that two writers that overlap lock in one order.
WITH written AS (
    INSERT INTO public.memories AS held (
        tenant, memory_id, version, deleted, deleted_version, recent_event_ids,
        {fields}
    )
    SELECT
        tenant, memory_id, version, deleted, deleted_version, recent_event_ids,
        {fields}
    FROM unnest(%(rows)b::pg_temp.memory_row[])
    ON CONFLICT (tenant, memory_id) DO UPDATE SET
        version = EXCLUDED.version,
        deleted_version = GREATEST(held.deleted_version, EXCLUDED.deleted_version),
        updated_at = EXCLUDED.updated_at,
        created_at = CASE
            WHEN cardinality(EXCLUDED.recent_event_ids) = 1 AND held.namespace = EXCLUDED.namespace
            THEN held.created_at ELSE EXCLUDED.created_at
        END,
        last_accessed_at = CASE
            WHEN cardinality(EXCLUDED.recent_event_ids) = 1 AND held.namespace = EXCLUDED.namespace
            THEN held.last_accessed_at ELSE EXCLUDED.last_accessed_at
        END,
        access_count = CASE
            WHEN cardinality(EXCLUDED.recent_event_ids) = 1 AND held.namespace = EXCLUDED.namespace
            THEN held.access_count ELSE EXCLUDED.access_count
        END,
        deleted = EXCLUDED.deleted,
        recent_event_ids = CASE
            WHEN cardinality(EXCLUDED.recent_event_ids) = 1
            THEN (EXCLUDED.recent_event_ids || held.recent_event_ids)[:%(remembered)s::integer]
            ELSE EXCLUDED.recent_event_ids
        END,
        {replaced}
    WHERE held.version < EXCLUDED.version
        AND EXCLUDED.recent_event_ids[1] <> ALL (held.recent_event_ids)
        AND (
            held.deleted OR EXCLUDED.deleted OR held.namespace = EXCLUDED.namespace
            OR cardinality(EXCLUDED.recent_event_ids) > 1
            AND (EXCLUDED.key IS NOT NULL OR EXCLUDED.coordinate IS NOT NULL)
        )
    RETURNING true
)
SELECT public.soma_require_written(count(*), %(offered)s::bigint) FROM written
