"""What the table of data keys says comes to the log: new, wrapped anew, destroyed, and of before."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from conftest import LocalParts
from postgres_tables import rows
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.encryption.key_log import owner_of
from soma_schemas.encryption.master_keys import MasterKeys
from soma_schemas.encryption.sealing import KeyOwner
from soma_schemas.events import DataKeyWrapped
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import EncryptionSettings, PublishingSettings
from soma_schemas.topics import MEMORY_KEYS
from soma_streams.audit.retained_log import RetainedLog, statements
from soma_streams.data_key_relay import open_relay
from soma_streams.log_state import log_state
from soma_streams.sinks.sessions import Pool

DESTROY = """
UPDATE data_keys SET retired_at = now(), destroyed_at = now(), subject = NULL, memory_id = NULL,
    wrapped = NULL, master_key_id = NULL, logged_at = NULL
WHERE subject = 'ada'
"""


@pytest.fixture
async def pool(worker_dsn: str, owner_dsn: str) -> AsyncIterator[Pool]:
    """The login of workers, with the tables empty."""
    del owner_dsn
    opened: Pool = AsyncConnectionPool(worker_dsn, min_size=1, max_size=4, open=False)
    async with opened:
        yield opened


def execute(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(statement.encode())


async def logged(settings: PublishingSettings) -> dict[UUID, DataKeyWrapped | None]:
    """The last word of the log on each key."""
    ends = (await asyncio.to_thread(log_state, settings.kafka, settings.topics, MEMORY_KEYS)).ends
    found: dict[UUID, DataKeyWrapped | None] = {}
    async for each in statements(settings, MEMORY_KEYS, ends, SystemClock()):
        assert each is not None
        assert each.said is None or isinstance(each.said, DataKeyWrapped)
        found[UUID(each.name)] = each.said
    return found


async def test_the_log_has_the_key_of_every_event_that_it_has_and_hears_of_what_becomes_of_it(
    publishing_settings: PublishingSettings, local_parts: LocalParts, pool: Pool, file: Path, owner_dsn: str
) -> None:
    encryption = EncryptionSettings(master_key_file=file)
    with (
        open_data_keys(local_parts.parts.postgres.settings(Login.API), encryption) as keys,
        MemoryProducer(publishing_settings, tenant="acme", keys=keys) as producer,
    ):
        for subject in ("ada", "grace"):
            await producer.store_async(NewMemory(namespace="a", text="a secret", subject=subject))
    masters = MasterKeys(file)
    first = await logged(publishing_settings)
    owners = {owner_of(key, masters): key_id for key_id, key in first.items() if key is not None}

    execute(owner_dsn, DESTROY)
    execute(owner_dsn, "UPDATE data_keys SET logged_at = NULL")  # as of a version before
    async with open_relay(publishing_settings, pool, None, SystemClock()) as without:
        assert await without.round() == 1
        assert await without.left() == 1
    async with open_relay(publishing_settings, pool, masters, SystemClock()) as relay:
        await relay.finish()
        assert await relay.left() == 0

    assert set(owners) == {KeyOwner("ada", None), KeyOwner("grace", None)}
    then = await logged(publishing_settings)
    assert then[owners[KeyOwner("ada", None)]] is None
    grace = then[owners[KeyOwner("grace", None)]]
    assert grace is not None
    assert owner_of(grace, masters) == KeyOwner("grace", None)
    assert rows(owner_dsn, "SELECT FROM data_keys WHERE logged_at IS NULL") == []
    topic = await asyncio.to_thread(values, publishing_settings)
    assert not any(b"grace" in value or b"ada" in value for value in topic)


def values(settings: PublishingSettings) -> list[bytes]:
    """What the log of keys has, undecoded."""
    ends = log_state(settings.kafka, settings.topics, MEMORY_KEYS).ends

    async def read() -> list[bytes]:
        with RetainedLog(settings.kafka, settings.topics, SystemClock(), MEMORY_KEYS) as log:
            return [each.value or b"" async for page in log.pages(0, 0, ends[0]) for each in page]

    return asyncio.run(read())
