-- Where a dead letter was applied that was published again; delivered again, it is there already.
INSERT INTO public.memory_replays (at_partition, at_version, tenant, partition, version, logged_at)
SELECT at_partition, at_version, tenant, partition, version, logged_at
FROM unnest(%(rows)b::pg_temp.replay_row[])
ON CONFLICT (at_partition, at_version) DO NOTHING
