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
    AND (%(memory_ids)s::uuid[] IS NULL OR memory_id = ANY (%(memory_ids)s::uuid[]))
    AND (%(coordinate)s::float8[] IS NULL OR coordinate = %(coordinate)s::float8[])
    AND {equal}
    AND (%(tags)s::text[] IS NULL OR tags @> %(tags)s::text[])
    AND (%(importance_min)s::float8 IS NULL OR importance >= %(importance_min)s::float8)
    AND (%(importance_max)s::float8 IS NULL OR importance <= %(importance_max)s::float8)
    AND (%(occurred_from)s::timestamptz IS NULL OR occurred_at >= %(occurred_from)s::timestamptz)
    AND (%(occurred_before)s::timestamptz IS NULL OR occurred_at < %(occurred_before)s::timestamptz)
    AND (%(created_from)s::timestamptz IS NULL OR created_at >= %(created_from)s::timestamptz)
    AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s::timestamptz)
    AND (%(updated_from)s::timestamptz IS NULL OR updated_at >= %(updated_from)s::timestamptz)
    AND (%(updated_before)s::timestamptz IS NULL OR updated_at < %(updated_before)s::timestamptz)
    AND (%(payload)s::jsonpath IS NULL OR payload @@ %(payload)s::jsonpath)
    AND (
        %(min)s::float8[] IS NULL
        OR (
            cardinality(coordinate) = cardinality(%(min)s::float8[])
            -- Said once more for the two dimensions that have an index.
            AND coordinate[1] BETWEEN %(min_1)s::float8 AND %(max_1)s::float8
            AND (%(min_2)s::float8 IS NULL OR coordinate[2] BETWEEN %(min_2)s::float8 AND %(max_2)s::float8)
            AND NOT EXISTS (
                SELECT FROM unnest(coordinate, %(min)s::float8[], %(max)s::float8[]) AS side (at, low, high)
                WHERE side.at < side.low OR side.at > side.high
            )
        )
    )
    AND {after}
ORDER BY {order}
LIMIT %(limit)s::integer
