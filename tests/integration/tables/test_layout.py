"""A table that somebody has changed makes no dead letter: the worker stops and says what differs."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from builders import a_batch, a_record, stored
from integration.sinks_postgres.two_ways import Road
from postgres_tables import A_GROUP, memories
from soma_schemas.errors import MismatchError
from soma_schemas.outcomes import Outcome
from soma_schemas.tables.layout import DECLARED, require_layout
from soma_schemas.tables.migrations import migrate
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.sinks.postgres import PostgresSink

_EVENTS = 20
_FUNCTION = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'not today' USING ERRCODE = '23514'; END $$;
CREATE TRIGGER refusing BEFORE INSERT ON memories FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture
async def road(empty_database: str) -> AsyncIterator[Road]:
    """A settler on a database of its own."""
    migrate(empty_database)
    async with AsyncConnectionPool(empty_database, min_size=1, max_size=2, open=False) as pool:
        yield Road(PostgresSink(pool, A_GROUP))


@pytest.mark.parametrize(
    ("change", "mend", "difference"),
    [
        (
            "ALTER TABLE memories ADD CONSTRAINT short CHECK (length(text) < 2) NOT VALID",
            "ALTER TABLE memories DROP CONSTRAINT short",
            "not ours: memories constraint short",
        ),
        (
            "ALTER TABLE memories ADD COLUMN region text NOT NULL",
            "ALTER TABLE memories DROP COLUMN region",
            "not ours: memories column region text not null",
        ),
        (_FUNCTION, "DROP TRIGGER refusing ON memories", "not ours: memories trigger refusing"),
        (
            "CREATE UNIQUE INDEX one_each ON memories (tenant)",
            "DROP INDEX one_each",
            "not ours: memories unique index one_each",
        ),
        (
            "ALTER TABLE memories DROP COLUMN subject",
            "ALTER TABLE memories ADD COLUMN subject text",
            "missing: memories column subject text",
        ),
    ],
)
async def test_a_changed_table_stops_the_worker_and_dead_letters_nothing(
    road: Road, empty_database: str, change: str, mend: str, difference: str
) -> None:
    batch = a_batch([a_record(stored(), offset) for offset in range(_EVENTS)])
    with psycopg.connect(empty_database) as owner:
        owner.execute(change.encode())

    with pytest.raises(MismatchError) as raised:
        await road.settler.settle(batch)

    assert difference in str(raised.value)
    assert classify(raised.value) is FailureClass.SYSTEMIC
    assert road.letters.letters == []
    with psycopg.connect(empty_database) as owner:
        owner.execute(mend.encode())
    settled = await road.settler.settle(batch)
    assert road.letters.letters == []
    assert settled.outcomes[Outcome.APPLIED] + settled.outcomes[Outcome.SUPERSEDED] == _EVENTS
    assert len(memories(empty_database)) == _EVENTS


def test_a_column_that_may_be_left_empty_and_tables_of_others_change_nothing() -> None:
    require_layout([*DECLARED, "memories column note text", "elsewhere constraint any CHECK (false)"])


def test_of_many_differences_some_are_told() -> None:
    with pytest.raises(MismatchError, match=r"; and \d+ more"):
        require_layout([])
