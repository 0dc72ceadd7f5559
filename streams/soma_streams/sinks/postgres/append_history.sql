-- One row per event that was never recorded, without looking for one that was: half the cost. One that is there
-- after all is an error, upon which the whole batch is written again by the guarded statements.
INSERT INTO public.memory_history (
    partition, version, logged_at, occurred_at, tenant, memory_id, event_id, event_type, namespace, actor,
    outcome, reason, error_code, content
)
SELECT
    partition, version, logged_at, occurred_at, tenant, memory_id, event_id, event_type, namespace, actor,
    outcome, reason, error_code, content
FROM unnest(%(rows)b::pg_temp.history_row[])
