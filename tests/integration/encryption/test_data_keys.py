"""Data keys in PostgreSQL: one for each subject, whoever asks first; none for who may not have it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from builders import an_id
from conftest import LocalParts
from fakes import FakeClock
from soma_cli.local.postgres import Login
from soma_schemas.encryption.data_keys import KEYS_KEPT_SECONDS, DataKeys, open_data_keys
from soma_schemas.encryption.encryption_errors import KeysUnavailableError, MasterKeyError
from soma_schemas.encryption.key_log import owner_of
from soma_schemas.encryption.master_keys import MasterKeys, new_master_key
from soma_schemas.encryption.sealing import DataKey, KeyOwner
from soma_schemas.events import DataKeyWrapped
from soma_schemas.settings import EncryptionSettings, PostgresSettings
from soma_streams.sinks.data_key_reader import read_data_keys

ADA = KeyOwner("ada", None)
RETIRE = "UPDATE data_keys SET retired_at = now(), retired_by = gen_random_uuid() WHERE subject = 'ada'"
DESTROY = """
UPDATE data_keys SET retired_at = coalesce(retired_at, now()), destroyed_at = now(), subject = NULL,
    memory_id = NULL, wrapped = NULL, master_key_id = NULL
"""


@pytest.fixture
def encryption(tmp_path: Path) -> EncryptionSettings:
    """Settings with a master key of their own."""
    path = tmp_path / "master-key"
    path.write_text(new_master_key(), encoding="ascii")
    return EncryptionSettings(master_key_file=path)


@pytest.fixture
def postgres(local_parts: LocalParts, owner_dsn: str) -> PostgresSettings:
    """The login of the API."""
    execute(owner_dsn, "TRUNCATE data_keys")
    return local_parts.parts.postgres.settings(Login.API)


@pytest.fixture
def clock() -> FakeClock:
    """Time."""
    return FakeClock()


@pytest.fixture
def keys(postgres: PostgresSettings, encryption: EncryptionSettings, clock: FakeClock) -> Iterator[DataKeys]:
    """The keys as the API has them."""
    with open_data_keys(postgres, encryption, clock) as opened:
        yield opened


def execute(dsn: str, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(statement.encode(), values)
        return found.fetchall() if found.description is not None else []


class Log:
    """What the log of keys has."""

    def __init__(self) -> None:
        self.records: list[DataKeyWrapped] = []
        self.failures: list[Exception] = []

    def take(self, records: Sequence[DataKeyWrapped]) -> None:
        if self.failures:
            raise self.failures.pop()
        self.records += records


def one(keys: DataKeys, owner: KeyOwner = ADA, tenant: str = "acme", log: Log | None = None) -> DataKey:
    return keys.of(tenant, [owner], (log or Log()).take)[owner]


def test_a_subject_has_one_key_and_other_owners_have_others(
    postgres: PostgresSettings, encryption: EncryptionSettings, keys: DataKeys
) -> None:
    memory = KeyOwner(None, an_id())
    made = keys.of("acme", [ADA, memory, KeyOwner("bob", None)], Log().take)

    with open_data_keys(postgres, encryption) as others:
        again = others.of("acme", [memory, ADA], Log().take)

    assert len({key.key_id for key in made.values()}) == 3
    assert {owner: key.key_id for owner, key in again.items()} == {
        owner: made[owner].key_id for owner in (ADA, memory)
    }
    assert one(keys, tenant="other").key_id != made[ADA].key_id


def test_gateways_that_make_the_key_of_a_subject_at_once_come_to_the_same(
    postgres: PostgresSettings, encryption: EncryptionSettings
) -> None:
    with ExitStack() as opened, ThreadPoolExecutor(8) as threads:
        gateways = [opened.enter_context(open_data_keys(postgres, encryption)) for _ in range(4)]
        owners = [KeyOwner(f"subject {number}", None) for number in range(20)]

        log = Log()
        asked = [threads.submit(each.of, "acme", owners, log.take) for each in gateways * 2]

        found = {tuple(key.key_id for _, key in sorted(each.result().items())) for each in asked}
    assert len(found) == 1
    # Each came to the log once, whoever made it.
    assert sorted(each.key_id for each in log.records) == sorted(found.pop())


def test_a_key_that_is_retired_is_replaced_within_the_time_that_it_is_kept(
    keys: DataKeys, clock: FakeClock, owner_dsn: str
) -> None:
    first = one(keys)
    execute(owner_dsn, RETIRE)

    clock.advance(KEYS_KEPT_SECONDS - 0.1)
    kept = one(keys)
    clock.advance(0.2)
    second = one(keys)

    assert kept.key_id == first.key_id
    assert second.key_id != first.key_id


def test_a_tenant_uses_keys_once_it_has_had_one(keys: DataKeys, owner_dsn: str) -> None:
    assert not keys.in_use("acme")
    one(keys)
    execute(owner_dsn, DESTROY)

    assert keys.in_use("acme")
    assert not keys.in_use("other")


async def test_who_reads_keys_knows_a_destroyed_one_from_one_that_never_was(
    keys: DataKeys, encryption: EncryptionSettings, local_parts: LocalParts, owner_dsn: str
) -> None:
    gone, kept = one(keys), one(keys, KeyOwner("bob", None))
    execute(owner_dsn, DESTROY + " WHERE subject = 'ada'")
    assert encryption.master_key_file is not None
    masters = MasterKeys(encryption.master_key_file)
    worker = local_parts.parts.postgres.settings(Login.WORKER)
    async with await psycopg.AsyncConnection.connect(worker.conninfo()) as connection:
        asked = [gone.key_id, kept.key_id, an_id()]

        known = await read_data_keys(connection, asked, masters)
        with pytest.raises(MasterKeyError, match="this process has none"):
            await read_data_keys(connection, asked, None)
        unwrapped = await read_data_keys(connection, [gone.key_id], None)

    found = known[kept.key_id]
    assert set(known) == {gone.key_id, kept.key_id}
    assert found.tenant == "acme"
    assert found.key is not None
    assert found.key.cipher.decrypt(bytes(12), kept.cipher.encrypt(bytes(12), b"tea", b""), b"") == b"tea"
    assert known[gone.key_id].key is None
    assert unwrapped[gone.key_id].key is None


def test_without_a_master_key_there_is_no_key_and_with_another_the_old_ones_stay_shut(
    postgres: PostgresSettings, keys: DataKeys, tmp_path: Path
) -> None:
    one(keys)
    other = tmp_path / "other"
    other.write_text(new_master_key(), encoding="ascii")

    with (
        open_data_keys(postgres, EncryptionSettings()) as none,
        pytest.raises(MasterKeyError, match="there is no master key"),
    ):
        one(none)
    with (
        open_data_keys(postgres, EncryptionSettings(master_key_file=other)) as wrong,
        pytest.raises(MasterKeyError, match="is wrapped with master key"),
    ):
        one(wrong)


def test_a_key_that_the_log_does_not_take_encrypts_nothing_and_comes_to_it_with_the_next_try(
    keys: DataKeys, encryption: EncryptionSettings, owner_dsn: str
) -> None:
    log = Log()
    log.failures = [KeysUnavailableError("the brokers are away")]

    with pytest.raises(KeysUnavailableError):
        one(keys, log=log)
    made = execute(owner_dsn, "SELECT key_id, logged_at FROM data_keys")
    key = one(keys, log=log)

    assert made == [(key.key_id, None)]
    (record,) = log.records
    assert encryption.master_key_file is not None
    assert record.key_id == key.key_id
    assert owner_of(record, MasterKeys(encryption.master_key_file)) == ADA
    assert b"ada" not in record.owner
    assert execute(owner_dsn, "SELECT count(*) FROM data_keys WHERE logged_at IS NOT NULL") == [(1,)]


def test_a_key_that_is_retired_before_the_log_has_it_is_never_used(keys: DataKeys, owner_dsn: str) -> None:
    log = Log()
    log.failures = [KeysUnavailableError("the brokers are away")]
    with pytest.raises(KeysUnavailableError):
        one(keys, log=log)
    execute(owner_dsn, RETIRE)

    second = one(keys, log=log)

    assert [each.key_id for each in log.records] == [second.key_id]
    retired = execute(owner_dsn, "SELECT key_id, logged_at FROM data_keys WHERE retired_at IS NOT NULL")
    assert retired != [(second.key_id, None)]
    assert [logged_at for _, logged_at in retired] == [None]


def test_while_the_database_is_away_there_is_no_key(encryption: EncryptionSettings) -> None:
    nowhere = PostgresSettings.model_validate({"port": 9, "connect_timeout": 0.5})

    with open_data_keys(nowhere, encryption) as keys, pytest.raises(KeysUnavailableError):
        one(keys)


def test_plain_tenants_are_not_encrypted() -> None:
    some, every = EncryptionSettings(plain_tenants="acme, other"), EncryptionSettings(plain_tenants="*")

    assert [some.encrypts(each) for each in ("acme", "other", "third")] == [False, False, True]
    assert not every.encrypts("third")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE data_keys SET wrapped = '\\x00'",
        "UPDATE data_keys SET retired_at = NULL",
        "DELETE FROM data_keys",
        (
            "INSERT INTO data_keys (key_id, tenant, subject, wrapped, master_key_id)"
            " VALUES (gen_random_uuid(), 'other', 'ada', '\\x00', 'k')"
        ),
    ],
)
def test_whoever_publishes_changes_no_key_and_makes_none_for_another_tenant(
    keys: DataKeys, api_dsn: str, statement: str
) -> None:
    one(keys)
    with psycopg.connect(api_dsn) as connection:
        connection.execute("SELECT set_config('soma.tenant', 'acme', true)")

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_a_key_is_seen_by_its_tenant_alone(keys: DataKeys, api_dsn: str) -> None:
    one(keys)
    one(keys, tenant="other")
    with psycopg.connect(api_dsn) as connection:
        connection.execute("SELECT set_config('soma.tenant', 'acme', true)")
        seen = connection.execute("SELECT DISTINCT tenant FROM data_keys").fetchall()

    assert seen == [("acme",)]


def test_a_destroyed_key_names_nobody(keys: DataKeys, owner_dsn: str) -> None:
    key_id: UUID = one(keys).key_id

    with pytest.raises(psycopg.errors.CheckViolation):
        execute(owner_dsn, "UPDATE data_keys SET destroyed_at = now() WHERE key_id = %(id)s", id=key_id)
