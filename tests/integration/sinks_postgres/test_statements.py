"""Every statement fits the migrated database."""

import re
from pathlib import Path

import psycopg
import pytest
from psycopg.pq import ExecStatus

import soma_streams.sinks
from soma_streams.sinks.dead_letter_index import DeadLetterIndex
from soma_streams.sinks.postgres import PostgresSink
from soma_streams.sinks.sessions import Pool
from soma_streams.sinks.statements import statement

FOLDER = Path(soma_streams.sinks.__path__[0])
NAMES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.sql"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_statement_can_be_prepared(name: str, pool: Pool) -> None:
    sessions = (
        DeadLetterIndex(pool)._sessions if name == "index_dead_letters" else PostgresSink(pool, "g")._sessions
    )
    numbers: dict[str, int] = {}
    numbered = re.sub(
        r"%\((\w+)\)[sb]",
        lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}",
        statement(name),
    )

    async with sessions.borrow() as connection:
        prepared = connection.pgconn.prepare(b"", numbered.encode())

    assert prepared.status == ExecStatus.COMMAND_OK, prepared.error_message.decode()


def test_there_are_statements() -> None:
    assert len(NAMES) >= 9


async def test_every_statement_says_first_what_it_guarantees() -> None:
    assert [name for name in NAMES if not statement(name).startswith("-- ")] == []


async def test_a_wrong_column_would_be_found(pool: Pool) -> None:
    async with pool.connection() as connection:
        prepared = connection.pgconn.prepare(b"", b"SELECT no_such_column FROM memories")

    assert prepared.status == ExecStatus.FATAL_ERROR
    assert b"no_such_column" in prepared.error_message
    assert psycopg.errors.UndefinedColumn.sqlstate == "42703"
