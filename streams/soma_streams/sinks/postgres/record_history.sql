-- One row per event, and the first word stays: an event that is delivered again changes nothing. Only a dead
-- letter gets another outcome: one that was replayed, because that is what became of it, and one that was
-- applied after all. A dead letter that is merely delivered again may find newer state by then, and stays one.
INSERT INTO public.memory_history AS known (
    partition, version, logged_at, occurred_at, tenant, memory_id, event_id, event_type, namespace, actor,
    outcome, reason, error_code, content
)
SELECT
    partition, version, logged_at, occurred_at, tenant, memory_id, event_id, event_type, namespace, actor,
    outcome, reason, error_code, content
FROM unnest(%(rows)b::pg_temp.history_row[])
ON CONFLICT (partition, version, logged_at) DO UPDATE SET
    occurred_at = EXCLUDED.occurred_at,
    tenant = EXCLUDED.tenant,
    memory_id = EXCLUDED.memory_id,
    event_id = EXCLUDED.event_id,
    event_type = EXCLUDED.event_type,
    namespace = EXCLUDED.namespace,
    actor = EXCLUDED.actor,
    outcome = EXCLUDED.outcome,
    reason = EXCLUDED.reason,
    error_code = EXCLUDED.error_code,
    content = EXCLUDED.content
WHERE known.outcome = 'dead_lettered' AND EXCLUDED.outcome <> 'dead_lettered'
    AND (EXCLUDED.outcome = 'applied' OR EXCLUDED.version = ANY(%(replayed)b::bigint[]))
