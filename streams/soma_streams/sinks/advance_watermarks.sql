-- A watermark only rises, an older epoch lies below every newer one; who waits for a rise is told on commit.
WITH risen AS (
    INSERT INTO public.sink_watermarks AS held (
        consumer_group, topic, partition, epoch, next_offset, updated_at
    )
    SELECT consumer_group, topic, partition, epoch, next_offset, now()
    FROM unnest(
        %(groups)s::text[], %(topics)s::text[], %(partitions)s::int[], %(epochs)s::int[], %(offsets)s::bigint[]
    ) AS offered (consumer_group, topic, partition, epoch, next_offset)
    ORDER BY consumer_group, topic, partition -- two writers that overlap lock in one order
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET
        epoch = EXCLUDED.epoch,
        next_offset = EXCLUDED.next_offset,
        updated_at = EXCLUDED.updated_at
    WHERE (held.epoch, held.next_offset) < (EXCLUDED.epoch, EXCLUDED.next_offset)
    RETURNING held.consumer_group, held.epoch, held.partition, held.next_offset
)
SELECT pg_notify('soma_watermarks', concat_ws(':', consumer_group, epoch, partition, next_offset)) FROM risen
