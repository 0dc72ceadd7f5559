-- Which of these memories are there, tombstones included: their places in the list, from 0 on.
-- OFFSET 0 keeps the planner from reading the whole table because it was small when the plan was made.
SELECT wanted.place - 1
FROM unnest(%(tenants)b::text[], %(memory_ids)b::uuid[]) WITH ORDINALITY AS wanted (tenant, memory_id, place)
CROSS JOIN LATERAL (
    SELECT FROM public.memories
    WHERE memories.tenant = wanted.tenant AND memories.memory_id = wanted.memory_id
    OFFSET 0
) AS held
