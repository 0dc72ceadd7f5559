"""On which databases the API starts."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from conftest import LocalParts
from fakes import FakeClock
from soma_api.start_checks import check_database, check_database_later
from soma_cli.local.postgres import Login
from soma_schemas.errors import ConfigurationError, MismatchError
from soma_schemas.settings import PostgresSettings


@pytest.fixture
def without_tables(local_parts: LocalParts, api_postgres: PostgresSettings) -> Iterator[PostgresSettings]:
    """The API's login to a database that nobody has migrated."""
    name = "without_tables"
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.ADMIN), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield api_postgres.model_copy(update={"database": name})
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def test_a_migrated_database_under_the_apis_own_login_will_do(api_postgres: PostgresSettings) -> None:
    assert await check_database(api_postgres)


async def test_a_database_without_tables_is_refused_with_the_command_that_mends_it(
    without_tables: PostgresSettings,
) -> None:
    with pytest.raises(MismatchError) as refused:
        await check_database(without_tables)

    assert "soma migrate" in str(refused.value.remedy)


async def test_a_login_that_would_see_every_tenant_is_refused(
    local_parts: LocalParts, api_postgres: PostgresSettings
) -> None:
    del api_postgres
    with pytest.raises(ConfigurationError, match="soma_owner"):
        await check_database(local_parts.parts.postgres.settings(Login.OWNER))


async def test_a_database_that_is_away_is_checked_once_it_answers(
    api_postgres: PostgresSettings, without_tables: PostgresSettings
) -> None:
    assert not await check_database(api_postgres.model_copy(update={"port": 1}))

    with pytest.raises(MismatchError):
        await asyncio.wait_for(check_database_later(without_tables, FakeClock()), 10)
