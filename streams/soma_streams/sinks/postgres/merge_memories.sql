-- Older never overwrites newer: a row changes to a larger version only. Returns the memories that did; rows come
-- in the order of their keys, so that two writers that overlap lock in one order.
INSERT INTO public.memories AS held (
    tenant, memory_id, version, deleted_version, updated_at, created_at, occurred_at, expires_at,
    last_accessed_at, access_count, importance, deleted, recent_event_ids, namespace, key, coordinate, kind,
    text, payload, tags, embedding, embedding_model, subject, actor
)
SELECT
    tenant, memory_id, version, deleted_version, updated_at, created_at, occurred_at, expires_at,
    last_accessed_at, access_count, importance, deleted, recent_event_ids, namespace, key, coordinate, kind,
    text, payload, tags, embedding, embedding_model, subject, actor
FROM unnest(%(rows)b::pg_temp.memory_row[])
ON CONFLICT (tenant, memory_id) DO UPDATE SET
    version = EXCLUDED.version,
    deleted_version = GREATEST(held.deleted_version, EXCLUDED.deleted_version),
    updated_at = EXCLUDED.updated_at,
    created_at = EXCLUDED.created_at,
    occurred_at = EXCLUDED.occurred_at,
    expires_at = EXCLUDED.expires_at,
    last_accessed_at = EXCLUDED.last_accessed_at,
    access_count = EXCLUDED.access_count,
    importance = EXCLUDED.importance,
    deleted = EXCLUDED.deleted,
    recent_event_ids = EXCLUDED.recent_event_ids,
    namespace = EXCLUDED.namespace,
    key = EXCLUDED.key,
    coordinate = EXCLUDED.coordinate,
    kind = EXCLUDED.kind,
    text = EXCLUDED.text,
    payload = EXCLUDED.payload,
    tags = EXCLUDED.tags,
    embedding = EXCLUDED.embedding,
    embedding_model = EXCLUDED.embedding_model,
    subject = EXCLUDED.subject,
    actor = EXCLUDED.actor
WHERE held.version < EXCLUDED.version
RETURNING held.tenant, held.memory_id
