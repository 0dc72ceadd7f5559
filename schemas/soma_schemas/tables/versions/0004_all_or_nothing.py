"""What lets one statement write all rows that it was offered, or none."""

from soma_schemas.tables.statements import run

revision = "0004"
down_revision = "0003"

REQUIRE_WRITTEN = """
CREATE FUNCTION soma_require_written(written bigint, offered bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF written <> offered THEN
        RAISE EXCEPTION 'of % rows offered, % were written', offered, written USING ERRCODE = 'SM001';
    END IF;
END
$$;
COMMENT ON FUNCTION soma_require_written IS 'Ends the transaction in which a guard refused a row.';
REVOKE ALL ON FUNCTION soma_require_written FROM PUBLIC;
GRANT EXECUTE ON FUNCTION soma_require_written TO soma_sinks;
"""


def upgrade() -> None:
    run(REQUIRE_WRITTEN)


def downgrade() -> None:
    run("DROP FUNCTION soma_require_written;")
