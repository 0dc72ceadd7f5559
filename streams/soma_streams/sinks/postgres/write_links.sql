-- Writes the states of edges under guard: every row offered, or none, as with memories. A link that is older than the
-- last deletion of its memory arrives dead. Runs after the memories of the batch are written; rows come in the order
-- of their keys, so that two writers that overlap lock in one order.
WITH written AS (
    INSERT INTO public.memory_links AS held (
        tenant, from_memory_id, link_type, to_memory_id, weight, version, deleted, recent_event_ids
    )
    SELECT
        offered.tenant, offered.from_memory_id, offered.link_type, offered.to_memory_id, offered.weight,
        offered.version,
        offered.deleted OR EXISTS (
            SELECT FROM public.memories
            WHERE memories.tenant = offered.tenant
                AND memories.memory_id = offered.from_memory_id
                AND memories.deleted_version > offered.version
        ),
        offered.recent_event_ids
    FROM unnest(%(rows)b::pg_temp.link_row[]) AS offered
    ON CONFLICT (tenant, from_memory_id, link_type, to_memory_id) DO UPDATE SET
        weight = EXCLUDED.weight,
        version = EXCLUDED.version,
        deleted = EXCLUDED.deleted,
        recent_event_ids = EXCLUDED.recent_event_ids
    WHERE held.version < EXCLUDED.version
    RETURNING true
)
SELECT public.soma_require_written(count(*), %(offered)s::bigint) FROM written
