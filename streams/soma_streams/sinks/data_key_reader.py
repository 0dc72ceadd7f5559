"""Data keys as the table has them now, unwrapped: what was destroyed is known as such."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.master_keys import MasterKeys, WrappedKey
from soma_schemas.encryption.sealing import DataKey
from soma_schemas.settings import EncryptionSettings
from soma_streams.delivery.sealed_events import KnownKey
from soma_streams.sinks.sessions import Pool

_READ = """
SELECT key_id, tenant, wrapped, master_key_id FROM data_keys WHERE key_id = ANY (%(key_ids)s::uuid[])
"""


class DataKeyReader:
    """Reads data keys for each batch, so that a destroyed one is used no more from the next on.

    Args:
        pool: Connections of a login with role soma_sinks.
        settings: Names the file of the master key.

    Raises:
        MasterKeyError: The file cannot be read, or holds no key.
    """

    def __init__(self, pool: Pool, settings: EncryptionSettings) -> None:
        self._pool = pool
        self._masters = master_keys(settings)

    async def read(self, key_ids: Collection[UUID]) -> Mapping[UUID, KnownKey]:
        """Return what is known of keys.

        Raises:
            MasterKeyError: There is no master key, or not the right one.
            psycopg.Error: As the server or the connection tells it.
        """
        async with self._pool.connection() as connection:
            return await read_data_keys(connection, key_ids, self._masters)


def master_keys(settings: EncryptionSettings) -> MasterKeys | None:
    """Return the master keys that settings name, or None where they name none.

    Raises:
        MasterKeyError: The file cannot be read, or holds no key.
    """
    return None if settings.master_key_file is None else MasterKeys(settings.master_key_file)


async def read_data_keys(
    connection: psycopg.AsyncConnection[Any], key_ids: Collection[UUID], masters: MasterKeys | None
) -> Mapping[UUID, KnownKey]:
    """Return what is known of keys; one that is missing was never there, or is lost.

    Args:
        connection: Of a login with role soma_sinks or soma_operators.
        key_ids: Which.
        masters: Unwrap them.

    Raises:
        MasterKeyError: There is no master key, or not the right one.
        psycopg.Error: As the server or the connection tells it.
    """
    rows = await (await connection.execute(_READ, {"key_ids": list(key_ids)})).fetchall()
    known: dict[UUID, KnownKey] = {}
    for key_id, tenant, wrapped, master_key_id in rows:
        key = None
        if wrapped is not None:
            if masters is None:
                raise MasterKeyError(
                    f"data key {key_id} is wrapped with master key {master_key_id}, and this process has none"
                )
            key = DataKey(key_id, AESGCM(masters.unwrap(WrappedKey(wrapped, master_key_id), tenant, key_id)))
        known[key_id] = KnownKey(tenant, key)
    return known
