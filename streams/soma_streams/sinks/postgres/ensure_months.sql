-- Every month has a partition before its first row comes; a month that has one costs a look into the catalog.
SELECT soma_ensure_history_partition(month) FROM unnest(%(months)s::date[]) AS month
