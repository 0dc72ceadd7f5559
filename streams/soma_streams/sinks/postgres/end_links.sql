-- A deleted memory's links end with it, unless they are newer than the deletion: it may have been born again.
UPDATE public.memory_links AS held SET deleted = true
FROM unnest(%(tenants)b::text[], %(memory_ids)b::uuid[]) AS ended (tenant, memory_id)
JOIN public.memories USING (tenant, memory_id)
WHERE held.tenant = ended.tenant
    AND held.from_memory_id = ended.memory_id
    AND held.version < memories.deleted_version
    AND NOT held.deleted
