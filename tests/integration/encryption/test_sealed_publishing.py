"""A producer with keys puts nothing readable about a subject into the log, and without a master key none."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from uuid import UUID

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from builders import an_id
from conftest import LocalParts
from soma_cli.data_key_admin import count_data_keys, wrap_anew
from soma_cli.local.postgres import Login
from soma_schemas.encryption.data_keys import DataKeys, open_data_keys
from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.master_keys import MasterKeys, WrappedKey, new_master_key
from soma_schemas.encryption.sealing import KeyOwner
from soma_schemas.events import PatchField
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import EncryptionSettings, PostgresSettings, PublishingSettings
from soma_schemas.topics import MEMORY_EVENTS

DESTROY = """
UPDATE data_keys SET retired_at = now(), destroyed_at = now(), subject = NULL, memory_id = NULL,
    wrapped = NULL, master_key_id = NULL
WHERE key_id = %(key_id)s
"""


@pytest.fixture
def postgres(local_parts: LocalParts, owner_dsn: str) -> PostgresSettings:
    """The login of the API, with the tables empty."""
    del owner_dsn
    return local_parts.parts.postgres.settings(Login.API)


@pytest.fixture
def keys(postgres: PostgresSettings, file: Path) -> Iterator[DataKeys]:
    """Keys."""
    with open_data_keys(postgres, EncryptionSettings(master_key_file=file)) as opened:
        yield opened


def values(settings: PublishingSettings, count: int) -> list[bytes]:
    """The values that the log of events has."""
    topic = MEMORY_EVENTS.full_name(settings.topics)
    consumer = Consumer(settings.kafka.librdkafka() | {"group.id": "reads", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, each, 0) for each in range(settings.topics.partitions)])
    found: list[bytes] = []
    try:
        while len(found) < count:
            message = consumer.poll(20)
            assert message is not None, f"the log has {len(found)} of {count}"
            found.append(message.value() or b"")
    finally:
        consumer.close()
    return found


def test_what_a_producer_with_keys_publishes_about_a_subject_cannot_be_read(
    publishing_settings: PublishingSettings, keys: DataKeys
) -> None:
    about = NewMemory(
        namespace="ada/diary", text="Ada has a secret", key="k", subject="ada", source="a letter"
    )
    with MemoryProducer(publishing_settings, tenant="acme", keys=keys) as producer:
        receipt, _ = producer.store_many([about, NewMemory(namespace="shop", text="opens at nine")])
        producer.patch("ada/diary", receipt.memory_id, {PatchField.TEXT: "Ada told her secret"})

    found = values(publishing_settings, 3)

    assert sum(b"opens at nine" in value for value in found) == 1
    for word in (b"secret", b"diary", b"a letter"):
        assert not any(word in value for value in found), word
    assert sum(str(receipt.memory_id).encode() in value for value in found) == 2


def test_a_producer_whose_keys_have_no_master_sends_nothing_about_a_subject(
    publishing_settings: PublishingSettings, postgres: PostgresSettings
) -> None:
    plain = NewMemory(namespace="shop", text="opens at nine")
    with (
        open_data_keys(postgres, EncryptionSettings()) as keys,
        MemoryProducer(publishing_settings, tenant="acme", keys=keys) as producer,
    ):
        with pytest.raises(MasterKeyError):
            producer.store_many([plain, NewMemory(namespace="ada", text="a secret", subject="ada")])
        producer.store(plain)

    assert [b"opens at nine" in value for value in values(publishing_settings, 1)] == [True]


def test_a_rotation_under_load_loses_no_key_and_brings_back_none_that_was_destroyed(
    keys: DataKeys, file: Path, owner_dsn: str
) -> None:
    owners = [KeyOwner(f"subject {number}", None) for number in range(1200)]
    before = {key.key_id for key in keys.of("acme", owners, lambda _: None).values()}
    gone = set(sorted(before)[::7])
    file.write_text(new_master_key() + file.read_text(encoding="ascii"), encoding="ascii")
    begun = Event()

    def destroy() -> None:
        begun.wait(30)
        with psycopg.connect(owner_dsn) as connection:
            for key_id in gone:
                connection.execute(DESTROY, {"key_id": key_id})

    destroying = Thread(target=destroy)
    destroying.start()
    masters = MasterKeys(file)
    wrap_anew(owner_dsn, masters, lambda _: begun.set())
    more = keys.of("acme", [KeyOwner(None, an_id())], lambda _: None)
    destroying.join()

    counts = count_data_keys(owner_dsn)
    with psycopg.connect(owner_dsn) as connection:
        left = connection.execute(
            "SELECT key_id, wrapped, master_key_id FROM data_keys WHERE wrapped IS NOT NULL"
        ).fetchall()
    found: dict[UUID, bytes] = {
        key_id: masters.unwrap(WrappedKey(wrapped, master), "acme", key_id)
        for key_id, wrapped, master in left
    }
    assert set(found) == before - gone | {key.key_id for key in more.values()}
    assert counts.wrapped == {masters.ids[0]: len(found)}
    assert counts.destroyed == len(gone)
