"""What is sealed comes back from the log with its keys, and what was erased does not come back."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from builders import A_MOMENT, an_id
from conftest import LocalParts
from integration.backups.test_backup_and_restore import dsn_of, lose_tables
from integration.workers.test_workers import postgres_worker
from soma_cli.local.postgres import Login
from soma_command import Soma
from soma_schemas.clock import SystemClock
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.encryption.master_keys import MasterKeys, new_master_key
from soma_schemas.erasure_receipts import ReceiptSigner, new_signing_key, selector_digest
from soma_schemas.events import ErasureCompleted, ErasureRequested, ErasureScope, Record
from soma_schemas.postgres_pool import open_pool
from soma_schemas.producer import EventPublisher, MemoryProducer, NewMemory
from soma_schemas.settings import EncryptionSettings, PublishingSettings
from soma_schemas.tables.migrations import migrate
from soma_schemas.topics import MEMORY_ERASURES
from soma_streams.data_key_relay import open_relay
from waiting import eventually

DESTROY = """
UPDATE data_keys SET retired_at = now(), destroyed_at = now(), subject = NULL, memory_id = NULL,
    wrapped = NULL, master_key_id = NULL, logged_at = NULL
WHERE subject = 'gone'
"""


@pytest.fixture(autouse=True)
def whole_again(local_parts: LocalParts) -> Iterator[None]:
    """Leaves the tables that other tests expect, whatever this one has lost."""
    yield
    lose_tables(local_parts)
    migrate(local_parts.parts.postgres.dsn(Login.OWNER))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A master key."""
    path = tmp_path / "master-key"
    path.write_text(new_master_key(), encoding="ascii")
    return path


def seen(local_parts: LocalParts) -> set[str]:
    """The texts that a reader of the tenant sees."""
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.API)) as connection:
        connection.execute("SELECT set_config('soma.tenant', 'acme', false)")
        return {row[0] for row in connection.execute("SELECT text FROM memories WHERE NOT deleted")}


def found(local_parts: LocalParts, statement: str) -> list[Any]:
    with psycopg.connect(dsn_of(local_parts, "soma")) as connection:
        return connection.execute(statement.encode()).fetchall()


def an_erasure(folder: Path, subject: str) -> tuple[Record, Record]:
    """A request, and what says that it is complete."""
    request_id = an_id()
    digest = selector_digest(request_id, subject)
    private, _ = new_signing_key()
    (folder / "signing.pem").write_text(private)
    receipt = ReceiptSigner.of_file(folder / "signing.pem").sign(
        {
            "receipt": "soma-erasure/1",
            "scope": "SUBJECT",
            "selector_sha256": digest,
            "requested_by": "officer",
            "requested_at": A_MOMENT.isoformat(),
            "accepted_at": A_MOMENT.isoformat(),
            "completed_at": A_MOMENT.isoformat(),
        }
    )
    said = {
        "event_id": request_id,
        "tenant": "acme",
        "occurred_at": A_MOMENT,
        "actor": "officer",
        "request_id": request_id,
    }
    counts = dict.fromkeys(("memories", "history_rows", "dead_letters"), 1)
    more = {
        "log_expires_at": A_MOMENT,
        "signing_key_id": "k",
        "signature": b"",
        "receipt": json.dumps(receipt),
    }
    return (
        ErasureRequested.validated(said | {"scope": ErasureScope.SUBJECT, "selector": subject}),
        ErasureCompleted.validated(said | counts | more),
    )


async def test_the_keys_of_what_is_new_since_a_backup_come_back_and_those_of_what_was_erased_do_not(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    operator: dict[str, str],
    soma: Soma,
    file: Path,
    *,
    tmp_path: Path,
) -> None:
    archive, encryption = str(tmp_path / "a.zip"), EncryptionSettings(master_key_file=file)
    keyed = operator | {"SOMA_ENCRYPTION__MASTER_KEY_FILE": str(file)}
    requested, completed = an_erasure(tmp_path, "gone")
    plain = NewMemory(namespace="a", text="of one whose erasure is known", subject="gone")
    with open_data_keys(local_parts.parts.postgres.settings(Login.API), encryption) as keys:
        async with (
            MemoryProducer(publishing_settings, tenant="acme", keys=keys) as producer,
            MemoryProducer(publishing_settings, tenant="acme") as without_keys,
        ):
            async with postgres_worker(local_parts, publishing_settings):
                await without_keys.store_async(plain)

                async def there() -> set[str]:
                    return await asyncio.to_thread(seen, local_parts)

                await eventually(there, lambda texts: len(texts) == 1)
                made = await asyncio.to_thread(soma, "backup", "-o", archive, environment=operator)
            for subject in ("ada", "gone"):
                await producer.store_async(NewMemory(namespace="a", text=f"about {subject}", subject=subject))
            await without_keys.store_async(replace(plain, text="of the same one, later"))
    with psycopg.connect(dsn_of(local_parts, "soma")) as connection:
        connection.execute(DESTROY)
    async with (
        open_pool(local_parts.parts.postgres.settings(Login.OWNER)) as pool,
        open_relay(publishing_settings, pool, MasterKeys(file), SystemClock()) as relay,
    ):
        await relay.finish()
    publisher = EventPublisher(publishing_settings)
    await asyncio.to_thread(publisher.send([requested, completed], MEMORY_ERASURES).result)
    publisher.close()
    lose_tables(local_parts)

    refused = await asyncio.to_thread(soma, "restore", archive, environment=operator)
    restored = await asyncio.to_thread(soma, "restore", archive, "--json", environment=keyed)
    at_once = await asyncio.to_thread(seen, local_parts)
    assert (made.code, refused.code, restored.code) == (0, 1, 0), refused.err + restored.err
    assert "lacks a key" in refused.err
    assert "1 data keys" in refused.err
    result = json.loads(restored.out)
    assert (result["data_keys"], result["erasures"]) == (1, 1)
    assert at_once == set()
    state = found(local_parts, "SELECT state, selector, receipt IS NOT NULL FROM erasures")
    assert state == [("accepted", "gone", True)]
    keys_there = found(local_parts, "SELECT subject, destroyed_at IS NULL FROM data_keys ORDER BY 1")
    assert keys_there == [("ada", True), (None, False)]

    async with postgres_worker(local_parts, publishing_settings, encryption=encryption):
        await eventually(lambda: asyncio.to_thread(seen, local_parts), lambda texts: texts == {"about ada"})
        outcomes = "SELECT outcome, reason FROM memory_history ORDER BY version"
        await eventually(
            lambda: asyncio.to_thread(found, local_parts, outcomes),
            lambda rows: ("superseded", "erased") in rows and len(rows) == 4,
        )
    assert found(local_parts, "SELECT code FROM dead_letters") == []
    assert await asyncio.to_thread(seen, local_parts) == {"about ada"}
