-- The next memories and tombstones in the order of their keys, whole, and when each was changed.
SELECT
    tenant, memory_id, version, deleted, recent_event_ids,
    namespace, key, coordinate, kind, text, payload::text, tags,
    importance, embedding, embedding_model, subject, expires_at, occurred_at,
    actor, created_at, updated_at, access_count, last_accessed_at
FROM public.memories
WHERE (tenant, memory_id) > (%(tenant)s::text, %(memory_id)s::uuid)
ORDER BY tenant, memory_id
LIMIT %(most)s::integer
