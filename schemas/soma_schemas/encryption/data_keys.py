"""The data keys of whoever publishes, from PostgreSQL: read, and made where there are none.

A key encrypts nothing before the log has it (`soma_schemas.encryption.key_log`): whatever is lost of
PostgreSQL, the log has the key of everything that it has.
"""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from soma_schemas.clock import Clock, SystemClock
from soma_schemas.encryption.encryption_errors import KeysUnavailableError, MasterKeyError
from soma_schemas.encryption.event_sealer import LogKeys
from soma_schemas.encryption.key_log import COLUMNS, NOTE_LOGGED, KeptKey, ids_of, wrapped_event
from soma_schemas.encryption.master_keys import MasterKeys, WrappedKey
from soma_schemas.encryption.sealing import DataKey, KeyOwner
from soma_schemas.identity import new_id
from soma_schemas.settings import EncryptionSettings, PostgresSettings

if TYPE_CHECKING:
    # Who publishes nothing about a subject need not have them.
    import psycopg
    import psycopg_pool
    from psycopg.rows import TupleRow

    Connection = psycopg.Connection[TupleRow]
    Pool = psycopg_pool.ConnectionPool[Connection]

KEYS_KEPT_SECONDS = 5.0
"""For so long a key may encrypt after it was retired."""
KEYS_IN_USE_SECONDS = KEYS_KEPT_SECONDS + 1.0
"""Nobody destroys a key that was retired since; a second more, for what a publisher was about to send."""

_MOST_KEPT = 10_000
_CONNECTIONS = 4
_KEY_BITS = 256

_READ = f"""
SELECT {COLUMNS}, logged_at IS NOT NULL FROM data_keys
WHERE tenant = %(tenant)s::text AND retired_at IS NULL AND subject = ANY (%(subjects)s::text[])
UNION ALL
SELECT {COLUMNS}, logged_at IS NOT NULL FROM data_keys
WHERE tenant = %(tenant)s::text AND retired_at IS NULL AND memory_id = ANY (%(memory_ids)s::uuid[])
"""  # noqa: S608  # constant columns
# In their order, so that nobody who holds one waits for somebody who waits for it.
_TAKE = f"""
SELECT {COLUMNS} FROM data_keys
WHERE tenant = %(tenant)s::text AND retired_at IS NULL AND logged_at IS NULL
    AND key_id = ANY (%(key_ids)s::uuid[])
ORDER BY key_id
FOR UPDATE
"""  # noqa: S608  # constant columns
# Of two that make a key at once the second waits for the first, and then reads that one's.
_MAKE = """
INSERT INTO data_keys (tenant, subject, memory_id, key_id, wrapped, master_key_id)
SELECT %(tenant)s::text, made.*
FROM unnest(
    %(subjects)s::text[], %(memory_ids)s::uuid[], %(key_ids)s::uuid[], %(wrapped)s::bytea[],
    %(master_key_ids)s::text[]
) AS made
ON CONFLICT DO NOTHING
"""
_IN_USE = "SELECT EXISTS (SELECT FROM data_keys WHERE tenant = %(tenant)s::text)"
_AS_TENANT = "SELECT set_config('soma.tenant', %(tenant)s::text, true)"


class DataKeys:
    """Keys of subjects and memories. Thread-safe. Made by `open_data_keys`.

    Args:
        postgres: A login with role soma_producers, which may read and make keys and nothing else.
        settings: Names the file of the master key; None: there are no keys to be had.
        clock: Bounds how long a key is kept.

    Raises:
        MasterKeyError: The file cannot be read, or holds no key.
    """

    def __init__(self, postgres: PostgresSettings, settings: EncryptionSettings, clock: Clock) -> None:
        self._postgres = postgres
        self._pool: Pool | None = None
        self._masters = None if settings.master_key_file is None else MasterKeys(settings.master_key_file)
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, KeyOwner], tuple[DataKey, float]] = {}
        self._users: set[str] = set()

    def encrypts(self, tenant: str) -> bool:
        """Say whether events of a tenant that name a subject are encrypted."""
        return self._settings.encrypts(tenant)

    def in_use(self, tenant: str) -> bool:
        """Say whether the tenant ever had a key: then any of its memories may be about a subject.

        Raises:
            KeysUnavailableError: PostgreSQL gives no answer.
        """
        if tenant not in self._users:
            with self._session(tenant) as connection:
                row = connection.execute(_IN_USE, {"tenant": tenant}).fetchone()
            if row is None or not row[0]:
                return False
            self._users.add(tenant)
        return True

    def of(self, tenant: str, owners: Collection[KeyOwner], log_keys: LogKeys) -> Mapping[KeyOwner, DataKey]:
        """Return the key of each owner, made where there is none, and in the log.

        Raises:
            MasterKeyError: There is no master key, or not the right one.
            KeysUnavailableError: PostgreSQL gives no answer, or the log does not take a key.
        """
        now = self._clock.monotonic()
        found: dict[KeyOwner, DataKey] = {}
        for owner in owners:
            key, until = self._kept.get((tenant, owner), (None, 0.0))
            if key is not None and now < until:
                found[owner] = key
        if missing := [owner for owner in owners if owner not in found]:
            read = self._read_or_make(tenant, missing, log_keys)
            with self._lock:
                if len(self._kept) + len(read) > _MOST_KEPT:
                    self._kept.clear()
                for owner, key in read.items():
                    self._kept[tenant, owner] = key, now + KEYS_KEPT_SECONDS
            found |= read
        return found

    def close(self) -> None:
        """Let go of PostgreSQL."""
        if self._pool is not None:
            self._pool.close()

    def _read_or_make(
        self, tenant: str, owners: Collection[KeyOwner], log_keys: LogKeys
    ) -> dict[KeyOwner, DataKey]:
        masters = self._masters
        if masters is None:
            raise MasterKeyError(
                f"an event of tenant {tenant} has to be encrypted, and there is no master key",
                remedy="Set SOMA_ENCRYPTION__MASTER_KEY_FILE, or name the tenant in "
                "SOMA_ENCRYPTION__PLAIN_TENANTS if its events are not to be encrypted.",
            )
        found: dict[KeyOwner, DataKey] = {}
        # Again when an erasure has retired what was just made, or another brings it to the log.
        while missing := [owner for owner in owners if owner not in found]:
            with self._session(tenant) as connection:
                rows = self._read(connection, tenant, missing)
                there = {_owner(key) for key, _ in rows}
                if absent := [owner for owner in missing if owner not in there]:
                    self._make(connection, masters, tenant, absent)
                    rows = self._read(connection, tenant, missing)
            usable = [key for key, is_logged in rows if is_logged]
            if late := [key for key, is_logged in rows if not is_logged]:
                usable += self._log(masters, tenant, late, log_keys)
            found |= {_owner(key): _opened(key, masters) for key in usable}
        return found

    def _read(
        self, connection: "Connection", tenant: str, owners: Collection[KeyOwner]
    ) -> list[tuple[KeptKey, bool]]:
        """Return the keys that there are, and whether the log has each."""
        rows = connection.execute(
            _READ,
            {
                "tenant": tenant,
                "subjects": [owner.subject for owner in owners if owner.subject is not None],
                "memory_ids": [owner.memory_id for owner in owners if owner.memory_id is not None],
            },
        )
        return [(KeptKey(*row[:-1]), row[-1]) for row in rows]

    def _log(
        self, masters: MasterKeys, tenant: str, keys: Sequence[KeptKey], log_keys: LogKeys
    ) -> list[KeptKey]:
        """Bring keys to the log that are in their table for good, and return those that it took from here."""
        with self._session(tenant) as connection:
            taken = [KeptKey(*row) for row in connection.execute(_TAKE, {"tenant": tenant} | ids_of(keys))]
            if taken:
                log_keys([wrapped_event(key, masters) for key in taken])
                connection.execute(NOTE_LOGGED, ids_of(taken))
        return taken

    def _make(
        self, connection: "Connection", masters: MasterKeys, tenant: str, owners: Collection[KeyOwner]
    ) -> None:
        key_ids = [new_id(self._clock.now()) for _ in owners]
        wrapped = [masters.wrap(AESGCM.generate_key(_KEY_BITS), tenant, key_id) for key_id in key_ids]
        connection.execute(
            _MAKE,
            {
                "tenant": tenant,
                "subjects": [owner.subject for owner in owners],
                "memory_ids": [owner.memory_id for owner in owners],
                "key_ids": key_ids,
                "wrapped": [each.wrapped for each in wrapped],
                "master_key_ids": [each.master_key_id for each in wrapped],
            },
        )

    @contextmanager
    def _session(self, tenant: str) -> "Iterator[Connection]":
        """Lend a connection in a transaction that sees the keys of one tenant; what is made is kept."""
        import psycopg  # noqa: PLC0415  # see above
        import psycopg_pool  # noqa: PLC0415  # see above

        with self._lock:
            self._pool = self._pool or _open_pool(self._postgres)
        try:
            with self._pool.connection() as connection:
                connection.execute(_AS_TENANT, {"tenant": tenant})
                yield connection
        except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
            raise KeysUnavailableError(
                f"the data keys of tenant {tenant} cannot be had: {type(error).__name__}"
            ) from error


@contextmanager
def open_data_keys(
    postgres: PostgresSettings, encryption: EncryptionSettings, clock: Clock | None = None
) -> Iterator[DataKeys]:
    """Yield the keys of whoever publishes. It connects when first asked.

    Args:
        postgres: A login with role soma_producers, which may read and make keys and nothing else.
        encryption: Names the file of the master key.
        clock: Bounds how long a key is kept.

    Raises:
        MasterKeyError: The file cannot be read, or holds no key.
    """
    with closing(DataKeys(postgres, encryption, clock or SystemClock())) as keys:
        yield keys


def _owner(key: KeptKey) -> KeyOwner:
    return KeyOwner(key.subject, key.memory_id)


def _opened(key: KeptKey, masters: MasterKeys) -> DataKey:
    if key.wrapped is None or key.master_key_id is None:
        raise ValueError("a destroyed key opens nothing")
    secret = masters.unwrap(WrappedKey(key.wrapped, key.master_key_id), key.tenant, key.key_id)
    return DataKey(key.key_id, AESGCM(secret))


def _open_pool(postgres: PostgresSettings) -> "Pool":
    import psycopg_pool  # noqa: PLC0415  # see above

    return psycopg_pool.ConnectionPool(
        postgres.conninfo,
        min_size=0,
        max_size=_CONNECTIONS,
        timeout=postgres.connect_timeout.total_seconds(),
        open=True,
    )
