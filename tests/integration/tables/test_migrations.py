"""The way to the newest revision, and how a process sees that a database is there."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from postgres_tables import rows
from soma_cli.database_errors import DatabaseError, told_in_words
from soma_schemas import tables
from soma_schemas.errors import MismatchError
from soma_schemas.settings import PostgresSettings
from soma_schemas.tables import HEAD, OLDEST_PROGRAM, REVISIONS, check_head, check_runs_on
from soma_schemas.tables.layout import DECLARED, READ_LAYOUT
from soma_schemas.tables.migrations import downgrade, migrate

# All that a migration makes, by name and in words.
_SHAPE = """
SELECT 'relation' AS kind, concat_ws(' ', relname, relkind, relacl) AS what
FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'column', concat_ws(' ', relname, attname, format_type(atttypid, atttypmod), attnotnull, attcollation)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'constraint', concat_ws(' ', conrelid::regclass, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'function', concat_ws(' ', pg_get_functiondef(oid), proacl)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'policy', policies::text FROM pg_policies AS policies
ORDER BY kind, what
"""


def shape(dsn: str) -> list[tuple[str, str]]:
    return [(row["kind"], row["what"]) for row in rows(dsn, _SHAPE)]


def test_an_empty_database_is_brought_to_the_head(empty_database: str) -> None:
    applied = migrate(empty_database)

    assert applied[-1] == HEAD
    check_head(empty_database)


def test_the_owner_needs_not_be_a_superuser(empty_database: str) -> None:
    (login,) = rows(empty_database, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")

    assert not login["rolsuper"]
    assert migrate(empty_database)


def test_migrating_again_does_nothing(empty_database: str) -> None:
    migrate(empty_database)
    before = shape(empty_database)

    assert migrate(empty_database) == []
    assert shape(empty_database) == before


def test_the_way_down_and_up_again_leads_to_the_same_shape(empty_database: str) -> None:
    applied = migrate(empty_database)
    before = shape(empty_database)

    undone = downgrade(empty_database, "base")

    assert undone == applied[::-1]
    assert {what.split()[0] for kind, what in shape(empty_database) if kind == "relation"} == {
        "alembic_version",
        "alembic_version_pkc",
    }
    assert migrate(empty_database) == applied
    assert shape(empty_database) == before


def test_a_way_down_takes_the_partitions_of_the_history_along(empty_database: str) -> None:
    applied = migrate(empty_database)
    with psycopg.connect(empty_database) as owner:
        owner.execute("SELECT soma_ensure_history_partition('2026-03-01')")

    downgrade(empty_database, "base")

    assert migrate(empty_database) == applied


def test_stored_reasons_get_the_names_of_this_version_and_on_the_way_down_the_old_ones(
    empty_database: str,
) -> None:
    before = {1: "repeated", 2: "conflict", 3: "absent", 4: "older", 5: None}
    migrate(empty_database)
    downgrade(empty_database, "0005")
    with psycopg.connect(empty_database) as owner:
        owner.execute("SELECT soma_ensure_history_partition('2026-03-01')")
        for version, reason in before.items():
            owner.execute(
                "INSERT INTO memory_history (partition, version, logged_at, outcome, reason)"
                " VALUES (0, %s, '2026-03-02', 'superseded', %s)",
                [version, reason],
            )

    migrate(empty_database)
    renamed = _reasons(empty_database)
    downgrade(empty_database, "0005")

    assert renamed == {1: "duplicate", 2: "version_mismatch", 3: "not_found", 4: "older", 5: None}
    assert _reasons(empty_database) == before


def _reasons(dsn: str) -> dict[int, str | None]:
    return {row["version"]: row["reason"] for row in rows(dsn, "SELECT version, reason FROM memory_history")}


def test_migrators_that_race_apply_each_revision_once(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(migrate, [empty_database] * 4))

    *idle, busy = sorted(applied, key=len)
    assert idle == [[], [], []]
    assert busy[-1] == HEAD
    assert len(set(busy)) == len(busy)


def test_a_revision_that_fails_leaves_the_database_as_it_was(empty_database: str) -> None:
    with psycopg.connect(empty_database) as owner:
        owner.execute("CREATE TABLE audit_log (in_the_way integer)")
    before = shape(empty_database)

    with pytest.raises(psycopg.errors.DuplicateTable):
        migrate(empty_database)

    assert shape(empty_database) == before


def test_a_migration_that_another_session_keeps_waiting_gives_up_before_writers_notice(
    empty_database: str,
) -> None:
    migrate(empty_database)
    downgrade(empty_database, "0014")
    settings = PostgresSettings(database="soma")

    with psycopg.connect(empty_database) as backup:
        backup.execute("LOCK TABLE memories IN ACCESS SHARE MODE")
        with pytest.raises(DatabaseError, match="another session holds a lock on database `soma`"):  # noqa: SIM117
            with told_in_words(settings):
                migrate(empty_database)

    assert rows(empty_database, "SELECT version_num FROM alembic_version") == [{"version_num": "0014"}]
    assert migrate(empty_database)[0] == "0015"


def test_the_revisions_are_those_of_the_files() -> None:
    config = Config()
    config.set_main_option("script_location", "soma_schemas:tables")

    newest_first = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]

    assert tuple(reversed(newest_first)) == REVISIONS


def test_a_process_that_checks_its_database_does_not_load_alembic() -> None:
    asked = "import sys, soma_schemas.tables; print('alembic' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "False"


def test_a_database_without_tables_is_refused(empty_database: str) -> None:
    with pytest.raises(MismatchError, match="holds no tables") as refusal:
        check_head(empty_database)

    assert "soma migrate" in (refusal.value.remedy or "")


def test_a_database_that_is_behind_is_refused(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(empty_database)
    monkeypatch.setattr(tables, "HEAD", "9999")

    with pytest.raises(
        MismatchError, match=f"is at revision {HEAD}; this program needs revision 9999"
    ) as refusal:
        check_head(empty_database)

    assert "soma migrate" in (refusal.value.remedy or "")


def test_a_database_that_is_ahead_is_refused_with_another_remedy(empty_database: str) -> None:
    migrate(empty_database)
    with psycopg.connect(empty_database) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(MismatchError, match="revision 9999, which is newer than this program") as refusal:
        check_head(empty_database)

    assert "the one before it" in (refusal.value.remedy or "")


@pytest.mark.parametrize(
    ("said", "runs"),
    [(f"soma: programs from {OLDEST_PROGRAM}", True), ("soma: programs from 9998", False), ("", False)],
)
def test_a_program_runs_on_a_later_database_that_says_so(
    empty_database: str, said: str, *, runs: bool
) -> None:
    migrate(empty_database)
    with psycopg.connect(empty_database) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '9999'")
        owner.execute(f"COMMENT ON TABLE alembic_version IS '{said}'".encode())

    if runs:
        assert check_runs_on(empty_database) == "9999"
        assert migrate(empty_database) == []
    else:
        for refuses in (check_runs_on, migrate):
            with pytest.raises(MismatchError, match="revision 9999, which is newer than this program"):
                refuses(empty_database)
    # Who would write down that the database is at its own revision.
    with pytest.raises(MismatchError):
        check_head(empty_database)


def test_a_database_says_on_which_programs_it_runs_also_when_nothing_was_applied(empty_database: str) -> None:
    migrate(empty_database)
    with psycopg.connect(empty_database) as owner:
        owner.execute("COMMENT ON TABLE alembic_version IS NULL")

    assert migrate(empty_database) == []
    with psycopg.connect(empty_database) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '9999'")
    assert check_runs_on(empty_database) == "9999"


def test_the_oldest_program_is_one_of_ours() -> None:
    assert OLDEST_PROGRAM in REVISIONS[-2:]


def test_every_login_of_ours_can_check_the_head(owner_dsn: str, worker_dsn: str, api_dsn: str) -> None:
    for dsn in (owner_dsn, worker_dsn, api_dsn):
        check_head(dsn)


def test_the_contracts_can_be_imported_without_what_only_the_tables_need() -> None:
    program = (
        "import sys, soma_schemas.events, soma_schemas.producer;"
        "sys.exit(bool({'alembic', 'sqlalchemy', 'psycopg'} & sys.modules.keys()))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_declared_layout_is_that_of_the_head(empty_database: str) -> None:
    migrate(empty_database)

    found = [row["line"] for row in rows(empty_database, READ_LAYOUT)]

    # After a new revision: write what is found, a line each, to soma_schemas/tables/layout.txt.
    assert sorted(found) == sorted(DECLARED)
