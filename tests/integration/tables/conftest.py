"""Databases of a test's own, beside the one that all share."""

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from psycopg import sql

from conftest import LocalParts
from soma_cli.local.postgres import Login

_numbers = count(1)


@pytest.fixture
def empty_database(local_parts: LocalParts) -> Iterator[str]:
    """A database without tables, as its owner sees it."""
    postgres = local_parts.parts.postgres
    name = f"empty_{next(_numbers)}"
    with psycopg.connect(postgres.dsn(Login.ADMIN), autocommit=True) as admin:
        database = sql.Identifier(name)
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER soma_owner").format(database))
        yield postgres.dsn(Login.OWNER).removesuffix("/soma") + f"/{name}"
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
