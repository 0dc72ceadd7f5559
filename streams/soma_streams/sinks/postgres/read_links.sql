-- Edges, ended ones included.
-- OFFSET 0 keeps the planner from reading the whole table because it was small when the plan was made.
SELECT
    held.tenant, held.from_memory_id, held.link_type, held.to_memory_id, held.weight, held.version,
    held.recent_event_ids
FROM unnest(
    %(tenants)b::text[], %(from_memory_ids)b::uuid[], %(link_types)b::text[], %(to_memory_ids)b::uuid[]
) AS wanted (tenant, from_memory_id, link_type, to_memory_id)
CROSS JOIN LATERAL (
    SELECT * FROM public.memory_links
    WHERE memory_links.tenant = wanted.tenant
        AND memory_links.from_memory_id = wanted.from_memory_id
        AND memory_links.link_type = wanted.link_type
        AND memory_links.to_memory_id = wanted.to_memory_id
    OFFSET 0
) AS held
