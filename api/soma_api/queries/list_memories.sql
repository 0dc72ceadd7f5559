-- One page of a tenant's living memories, in a total order; a page goes on exactly after the last row of the
-- one before. Absent filters are null and fold away when the statement is planned with its values, so it is
-- never prepared. A prefix is a range, because row-level security admits only leakproof operators to indexes:
-- '0' is the character after '/', and the column's collation is "C". The tenant is asked as a subquery, so that
-- its plan is that of any tenant: one that statistics do not know would be taken for a tenant of one row.
SELECT {columns}
FROM memories
WHERE tenant = (SELECT %(tenant)s::text)
    AND NOT deleted
    AND {living}
    AND (%(namespace)s::text IS NULL OR namespace = %(namespace)s::text)
    AND (
        %(namespace_prefix)s::text IS NULL
        OR namespace = %(namespace_prefix)s::text
        OR (namespace >= %(namespace_prefix)s::text || '/' AND namespace < %(namespace_prefix)s::text || '0')
    )
    AND (
        %(allowed)s::text[] IS NULL
        OR EXISTS (
            SELECT FROM unnest(%(allowed)s::text[]) AS own (prefix)
            WHERE namespace = own.prefix
                OR (namespace >= own.prefix || '/' AND namespace < own.prefix || '0')
        )
    )
    AND {where}
    AND {after}
ORDER BY {order}
LIMIT %(limit)s::integer
