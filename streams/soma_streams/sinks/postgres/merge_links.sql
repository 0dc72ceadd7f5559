-- Older never overwrites newer, and a link that is older than the last deletion of its memory arrives dead.
-- Returns the links that changed. Runs after the memories of the batch are merged; rows come in the order of
-- their keys, so that two writers that overlap lock in one order.
INSERT INTO public.memory_links AS held (
    tenant, from_memory_id, link_type, to_memory_id, weight, version, deleted
)
SELECT
    offered.tenant, offered.from_memory_id, offered.link_type, offered.to_memory_id, offered.weight,
    offered.version,
    offered.deleted OR EXISTS (
        SELECT FROM public.memories
        WHERE memories.tenant = offered.tenant
            AND memories.memory_id = offered.from_memory_id
            AND memories.deleted_version > offered.version
    )
FROM unnest(%(rows)b::pg_temp.link_row[]) AS offered
ON CONFLICT (tenant, from_memory_id, link_type, to_memory_id) DO UPDATE SET
    weight = EXCLUDED.weight,
    version = EXCLUDED.version,
    deleted = EXCLUDED.deleted
WHERE held.version < EXCLUDED.version
RETURNING held.tenant, held.from_memory_id, held.link_type, held.to_memory_id
