"""A master key that is lost for good: subjects get new data keys, and workers can be told to go on."""

import asyncio
from pathlib import Path

import pytest
from pydantic import BaseModel

from conftest import LocalParts
from integration.workers.test_workers import postgres_worker
from postgres_tables import rows
from soma_cli.local.postgres import Login
from soma_command import Soma
from soma_schemas.configuration import as_environment
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.master_keys import MasterKeys, new_master_key
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import EncryptionSettings, PostgresSettings, PublishingSettings
from waiting import eventually


class _Places(BaseModel):
    postgres: PostgresSettings
    encryption: EncryptionSettings


@pytest.fixture
def soma(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Soma:
    """`soma` without a local stack."""
    return Soma(tmp_path, capfd)


def lose(file: Path) -> None:
    """Have a new key alone in the file."""
    file.write_text(new_master_key(), encoding="ascii")


async def test_what_a_lost_master_key_wraps_is_made_anew_and_what_it_encrypts_is_passed_when_destroyed(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    file: Path,
    soma: Soma,
) -> None:
    encryption = EncryptionSettings(master_key_file=file)
    postgres = local_parts.parts.postgres
    environment = as_environment(_Places(postgres=postgres.settings(Login.OWNER), encryption=encryption))

    async def retire(*arguments: str) -> tuple[int, str]:
        ran = await asyncio.to_thread(
            soma, "encryption", "retire-master-key", *arguments, environment=environment
        )
        return ran.code, ran.out + ran.err

    async def store(text: str) -> None:
        with open_data_keys(postgres.settings(Login.API), encryption) as keys:
            async with MemoryProducer(publishing_settings, tenant="acme", keys=keys) as producer:
                await producer.store_async(NewMemory(namespace="a", text=text, subject="ada"))

    await store("lost")
    (lost,) = MasterKeys(file).ids
    in_use = await retire(lost, "--yes")
    lose(file)
    with pytest.raises(MasterKeyError):
        await store("refused")
    planned = await retire(lost)
    unchanged = rows(owner_dsn, "SELECT FROM data_keys WHERE retired_at IS NULL")
    retired = await retire(lost, "--yes")
    await store("new")
    with pytest.raises(MasterKeyError):
        async with postgres_worker(local_parts, publishing_settings, encryption=encryption) as worker:
            await asyncio.wait([worker])

    destroyed = await retire(lost, "--destroy", "--yes")
    async with postgres_worker(local_parts, publishing_settings, encryption=encryption):

        async def outcomes() -> list[tuple[str, str | None]]:
            found = rows(owner_dsn, "SELECT outcome, reason FROM memory_history ORDER BY outcome")
            return [(row["outcome"], row["reason"]) for row in found]

        await eventually(outcomes, lambda seen: seen == [("applied", None), ("superseded", "erased")])

    assert (in_use[0], planned[0], retired[0], destroyed[0]) == (2, 0, 0, 0)
    assert "can be read" in in_use[1]
    assert f"would be retired: 1 data key of master key {lost}" in planned[1]
    assert len(unchanged) == 1
    assert await retire(lost, "--yes") == (2, (await retire(lost))[1])
    assert [row["text"] for row in rows(owner_dsn, "SELECT text FROM memories")] == ["new"]
    assert rows(owner_dsn, "SELECT FROM dead_letters") == []
    kept = rows(owner_dsn, "SELECT subject, logged_at IS NULL AS unlogged FROM data_keys ORDER BY subject")
    assert [(row["subject"], row["unlogged"]) for row in kept] == [("ada", False), (None, True)]
    audited = rows(owner_dsn, "SELECT action, details FROM audit_log WHERE actor = 'operator' ORDER BY id")
    assert [(row["action"], row["details"]) for row in audited] == [
        ("encryption.retired", {"data_keys": 1}),
        ("encryption.retired", {"data_keys": 0}),
        ("encryption.destroyed", {"data_keys": 1}),
    ]
