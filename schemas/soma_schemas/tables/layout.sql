-- All that can make a table refuse a row: its columns, constraints, unique indexes and triggers, a line each; and
-- the functions that statements call.
-- What hangs on one partition alone is told as hanging on the whole table.
WITH ours AS (
    SELECT pg_class.oid, coalesce(parent.relname, pg_class.relname) AS name, pg_class.relispartition AS part
    FROM pg_class
    LEFT JOIN pg_inherits ON inhrelid = pg_class.oid AND pg_class.relispartition
    LEFT JOIN pg_class AS parent ON parent.oid = inhparent
    WHERE pg_class.relnamespace = 'public'::regnamespace AND pg_class.relkind IN ('r', 'p')
)
SELECT concat_ws(' ', name, 'column', attname, format_type(atttypid, atttypmod),
                 CASE WHEN attnotnull THEN 'not null' END, CASE WHEN attgenerated <> '' THEN 'generated' END) AS line
FROM ours JOIN pg_attribute ON attrelid = ours.oid
WHERE attnum > 0 AND NOT attisdropped AND NOT part
UNION
SELECT concat_ws(' ', name, 'constraint', conname,
                 regexp_replace(pg_get_constraintdef(pg_constraint.oid), '\s+', ' ', 'g'))
FROM ours JOIN pg_constraint ON conrelid = ours.oid
WHERE contype <> 'n' AND (conislocal OR NOT part)
UNION
SELECT concat_ws(' ', name, 'unique index', indexrelid::regclass)
FROM ours JOIN pg_index ON indrelid = ours.oid
WHERE indisunique AND NOT part
UNION
SELECT concat_ws(' ', name, 'trigger', tgname)
FROM ours JOIN pg_trigger ON tgrelid = ours.oid
WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgparentid = 0
UNION
SELECT concat_ws(' ', proname, 'function', nullif(pg_get_function_identity_arguments(oid), ''))
FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND starts_with(proname, 'soma_') AND prorettype <> 'trigger'::regtype
