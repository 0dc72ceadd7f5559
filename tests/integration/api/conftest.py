from collections.abc import AsyncIterator

import pytest

from api_gateway import Gateway, open_gateway
from conftest import LocalParts
from soma_cli.local.postgres import Login
from soma_schemas.settings import PostgresSettings


@pytest.fixture
def api_postgres(local_parts: LocalParts, api_dsn: str) -> PostgresSettings:
    """The API's login to the emptied database."""
    del api_dsn
    return local_parts.parts.postgres.settings(Login.API)


@pytest.fixture
async def gateway(api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str) -> AsyncIterator[Gateway]:
    """The API, with a writer's key in every request and a log that records."""
    async with open_gateway(api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn) as served:
        yield served
