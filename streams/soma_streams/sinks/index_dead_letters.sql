-- One row per letter, and the first stays: a letter that is written or read again changes nothing, least of all
-- what an operator has decided about it.
INSERT INTO public.dead_letters (
    id, tenant, memory_id, consumer_group, topic, partition, log_offset, epoch, logged_at, dlq_partition,
    dlq_offset, stage, error_class, code, message, attempts, first_failed_at, application_version
)
SELECT
    id, tenant, memory_id, consumer_group, topic, partition, log_offset, epoch, logged_at, dlq_partition,
    dlq_offset, stage, error_class, code, message, attempts, first_failed_at, application_version
FROM unnest(%(rows)b::pg_temp.dead_letter_row[])
ON CONFLICT (id) DO NOTHING
