-- Memories with everything that a change to them is folded onto; a tombstone has nulls for content.
-- OFFSET 0 keeps the planner from reading the whole table because it was small when the plan was made.
SELECT
    held.tenant, held.memory_id, held.version, held.deleted, held.recent_event_ids,
    {selected}
FROM unnest(%(tenants)b::text[], %(memory_ids)b::uuid[]) AS wanted (tenant, memory_id)
CROSS JOIN LATERAL (
    SELECT * FROM public.memories
    WHERE memories.tenant = wanted.tenant AND memories.memory_id = wanted.memory_id
    OFFSET 0
) AS held
