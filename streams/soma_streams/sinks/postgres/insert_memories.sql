-- Memories that were never seen, without looking for a row to guard: half the cost. One that is there after all
-- is an error, upon which the whole batch is written again by the guarded statements.
INSERT INTO public.memories (
    tenant, memory_id, version, deleted_version, updated_at, created_at, occurred_at, expires_at,
    last_accessed_at, access_count, importance, deleted, recent_event_ids, namespace, key, coordinate, kind,
    text, payload, tags, embedding, embedding_model, subject, actor
)
SELECT
    tenant, memory_id, version, deleted_version, updated_at, created_at, occurred_at, expires_at,
    last_accessed_at, access_count, importance, deleted, recent_event_ids, namespace, key, coordinate, kind,
    text, payload, tags, embedding, embedding_model, subject, actor
FROM unnest(%(rows)b::pg_temp.memory_row[])
