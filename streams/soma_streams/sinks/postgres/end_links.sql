-- A deleted memory's links end with it, unless they are newer than the deletion: it may have been born again.
-- Found by primary keys alone, and written as rows that are there already: that finds them by their key, whatever
-- the planner thinks of the tables. Rows come in the order of their keys, so that writers lock in one order.
INSERT INTO public.memory_links AS held (
    tenant, from_memory_id, link_type, to_memory_id, weight, version, deleted
)
SELECT
    link.tenant, link.from_memory_id, link.link_type, link.to_memory_id, link.weight, memory.deleted_version, true
FROM unnest(%(tenants)b::text[], %(memory_ids)b::uuid[]) AS ended (tenant, memory_id)
CROSS JOIN LATERAL (
    SELECT deleted_version FROM public.memories
    WHERE memories.tenant = ended.tenant AND memories.memory_id = ended.memory_id
    OFFSET 0
) AS memory
CROSS JOIN LATERAL (
    SELECT * FROM public.memory_links
    WHERE memory_links.tenant = ended.tenant AND memory_links.from_memory_id = ended.memory_id
    OFFSET 0
) AS link
WHERE NOT link.deleted AND link.version < memory.deleted_version
ORDER BY tenant, from_memory_id, link_type, to_memory_id
ON CONFLICT (tenant, from_memory_id, link_type, to_memory_id) DO UPDATE SET deleted = true
WHERE NOT held.deleted AND held.version < EXCLUDED.version
