-- One page of a tenant's living memories, in a total order; a page goes on exactly after the last row of the
-- one before. It is planned with its values, so never prepared. The tenant is asked as a subquery, so that its
-- plan is that of any tenant: one that statistics do not know would be taken for a tenant of one row.
SELECT {sorting}, {columns}
FROM {source}
WHERE tenant = (SELECT %(tenant)s::text)
    AND NOT deleted
    AND {living}
    AND {placed}
    AND {where}
    AND {after}
ORDER BY {order}
LIMIT %(limit)s::integer
