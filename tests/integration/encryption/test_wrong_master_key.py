"""A worker with another master key stops and says so: no dead letter, nothing stored, nothing told."""

import asyncio
from pathlib import Path

import pytest

from conftest import LocalParts
from integration.workers.test_workers import postgres_worker
from postgres_tables import rows
from soma_cli.local.postgres import Login
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.master_keys import MasterKeys, new_master_key
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import EncryptionSettings, PublishingSettings
from soma_schemas.topics import DEAD_LETTERS
from soma_streams.log_state import log_state
from waiting import eventually


async def test_with_another_master_key_a_worker_stops_and_with_the_right_one_it_goes_on(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for path in (right, wrong):
        path.write_text(new_master_key(), encoding="ascii")
    encryption = EncryptionSettings(master_key_file=right)
    with open_data_keys(local_parts.parts.postgres.settings(Login.API), encryption) as keys:
        async with MemoryProducer(publishing_settings, tenant="acme", keys=keys) as producer:
            await producer.store_async(NewMemory(namespace="a", text="a secret", subject="ada"))

    with pytest.raises(MasterKeyError) as stopped:
        async with postgres_worker(
            local_parts, publishing_settings, encryption=EncryptionSettings(master_key_file=wrong)
        ) as worker:
            await asyncio.wait([worker])
    nothing = rows(owner_dsn, "SELECT FROM memories"), rows(owner_dsn, "SELECT FROM memory_history")
    logged = capfd.readouterr()
    letters = await asyncio.to_thread(
        log_state, publishing_settings.kafka, publishing_settings.topics, DEAD_LETTERS
    )
    async with postgres_worker(local_parts, publishing_settings, encryption=encryption):

        async def texts() -> list[str]:
            return [row["text"] for row in rows(owner_dsn, "SELECT text FROM memories")]

        await eventually(texts, lambda seen: seen == ["a secret"])

    assert MasterKeys(right).ids[0] in str(stopped.value)
    assert MasterKeys(wrong).ids[0] in str(stopped.value)
    assert stopped.value.remedy is not None
    assert "SOMA_ENCRYPTION__MASTER_KEY_FILE" in stopped.value.remedy
    assert "worker_cannot_go_on" in logged.out + logged.err
    assert "a secret" not in logged.out + logged.err
    assert nothing == ([], [])
    assert set(letters.ends.values()) == {0}
