-- One row per expiry that is applied and asks for an archive, in the transaction that ends the memory: an expiry that is
-- delivered again is superseded, and offers none.
INSERT INTO public.outbox (tenant, memory_id, event_id, content)
SELECT tenant, memory_id, event_id, content FROM unnest(%(rows)b::pg_temp.outbox_row[])
