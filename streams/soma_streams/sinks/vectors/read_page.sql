-- The next memories and tombstones in the order of their keys, whole, and when each was changed.
SELECT
    tenant, memory_id, version, deleted, recent_event_ids,
    {selected}
FROM public.memories
WHERE (tenant, memory_id) > (%(tenant)s::text, %(memory_id)s::uuid)
ORDER BY tenant, memory_id
LIMIT %(most)s::integer
