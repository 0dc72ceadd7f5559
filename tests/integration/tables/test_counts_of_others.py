"""What the API counts for a tenant reads no row of another: the time of an answer tells nothing of them.

The others have what a count could meet: memories that ended and are not swept yet, links of those,
tombstones, dead letters, policies. Rows are those that any step of a plan handed on or dropped.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
from psycopg import ClientCursor

from conftest import LocalParts
from integration.tables.test_statement_bounds import CASES, EARLY, FIRST, loading, rows_of, text_of
from soma_cli.local.postgres import Login
from soma_schemas.tables.migrations import migrate

_OVERVIEW, _POLICIES = (f"soma_api.queries.{module}_queries." for module in ("overview", "policy"))
COUNTS = [
    key
    for key, (name, _) in CASES.items()
    if name.startswith((_OVERVIEW, f"{_POLICIES}_PLACES", f"{_POLICIES}_DUE")) or key.endswith(", counted")
]
OF_ENDED = [key for key in COUNTS if CASES[key][0].startswith(_OVERVIEW)]

_ENDED_AND_DELETED = """
UPDATE memories SET expires_at = '2026-02-01Z' WHERE (tenant = 'early') = %(own)s AND NOT deleted;
UPDATE memories SET
    deleted = true, namespace = NULL, key = NULL, kind = NULL, text = NULL, payload = NULL, tags = NULL,
    importance = NULL, occurred_at = NULL, actor = NULL, created_at = NULL, access_count = NULL,
    coordinate = NULL, subject = NULL, expires_at = NULL
WHERE (tenant = 'early') = %(own)s AND version %% 4 = 0
"""

# How many rows each count read.
Read = Mapping[str, int]


class Tenants:
    """One that counts, and others."""

    def __init__(self, owner: psycopg.Connection[Any], reader_dsn: str) -> None:
        self._owner = owner
        self._reader_dsn = reader_dsn

    def given(self, first: int, last: int, *, own: bool) -> None:
        """Load rows, and let all memories of the one tenant or of the others end or be deleted."""
        self._owner.execute(loading(first, last))
        ClientCursor(self._owner).execute(_ENDED_AND_DELETED, {"own": own})

    def read(self) -> Read:
        """Count, as the API does."""
        with psycopg.connect(self._reader_dsn, autocommit=True, cursor_factory=ClientCursor) as reader:
            reader.execute("SELECT set_config('soma.tenant', %s, false)", [EARLY])
            return {key: self._rows(reader, key) for key in COUNTS}

    def _rows(self, reader: psycopg.Connection[Any], key: str) -> int:
        _, case = CASES[key]
        asked = f"EXPLAIN (ANALYZE, FORMAT JSON) {text_of(key)}"
        row = reader.execute(asked.encode(), {"tenant": EARLY, **case.values(EARLY)}).fetchone()
        assert row is not None
        return rows_of(row[0][0]["Plan"])


@pytest.fixture
def tenants(local_parts: LocalParts, empty_database: str) -> Iterator[Tenants]:
    """They have some rows each, which the planner knows."""
    migrate(empty_database)
    reader = local_parts.parts.postgres.settings(Login.API)
    database = empty_database.rpartition("/")[2]
    with psycopg.connect(empty_database, autocommit=True) as owner:
        owner.execute(
            "SELECT soma_ensure_history_partition(month::date)"
            " FROM generate_series(timestamptz '2026-01-01Z', '2026-05-01Z', '1 month') AS month"
        )
        given = Tenants(owner, reader.model_copy(update={"database": database}).conninfo())
        given.given(FIRST[EARLY] + 1, FIRST[EARLY] + 2000, own=False)
        given.given(1, 20_000, own=False)
        owner.execute("ANALYZE")
        yield given


def test_what_others_have_is_not_read_and_what_the_tenant_has_is(tenants: Tenants) -> None:
    before = tenants.read()

    tenants.given(20_001, 40_000, own=False)
    beside_more_of_others = tenants.read()
    tenants.given(FIRST[EARLY] + 2001, FIRST[EARLY] + 4000, own=True)
    with_more_of_its_own = tenants.read()

    changed = {key: (before[key], read) for key, read in beside_more_of_others.items() if read != before[key]}
    assert changed == {}
    assert [key for key in OF_ENDED if with_more_of_its_own[key] < before[key] + 1000] == []
