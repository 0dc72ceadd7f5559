"""Whole months of the history can go, as soon as nothing of them can come again.

Dropping is a function of the owner, so that no worker may drop anything else. It keeps by itself what the
log and the dead letters could still bring again as they are declared: 30 and 90 days.
"""

from soma_schemas.tables.statements import run

revision = "0010"
down_revision = "0009"

DROPPING = """
CREATE FUNCTION soma_drop_history_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
-- Whoever comes after waits for as long: writers of every month, too.
SET lock_timeout = '250ms'
AS $$
DECLARE
    first date := date_trunc('month', month::timestamp)::date;
    child text := 'memory_history_' || to_char(first, 'YYYY_MM');
    ended timestamptz := (first + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass('public.' || child) IS NULL THEN
        RETURN;
    END IF;
    IF ended > clock_timestamp() - interval '120 days' THEN
        RAISE EXCEPTION 'events of % can still come again', first USING ERRCODE = 'object_in_use';
    END IF;
    -- The table before its part, as everybody locks them.
    LOCK TABLE ONLY public.memory_history IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('DROP TABLE IF EXISTS public.%I', child);
END
$$;
COMMENT ON FUNCTION soma_drop_history_partition IS
    'Drops the partition of a month (UTC) that ended more than 120 days ago, without waiting long for it.';
REVOKE ALL ON FUNCTION soma_drop_history_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_drop_history_partition TO soma_sinks;
"""


def upgrade() -> None:
    run(DROPPING)


def downgrade() -> None:
    run("DROP FUNCTION soma_drop_history_partition;")
