"""Data keys for the owner of the database: counted, wrapped anew, in table and log; unwrapped for nobody."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from soma_cli.administrative_acts import record_act
from soma_cli.settings import OperatorSettings
from soma_schemas.clock import SystemClock
from soma_schemas.encryption.data_keys import KEYS_IN_USE_SECONDS
from soma_schemas.encryption.master_keys import MasterKeys, WrappedKey
from soma_schemas.postgres_pool import open_pool
from soma_streams.data_key_relay import open_relay

_AT_ONCE = 500
_LOOK_AGAIN_SECONDS = 0.25

_COUNT = """
SELECT master_key_id, count(*) FROM data_keys WHERE master_key_id IS NOT NULL GROUP BY master_key_id
"""
_COUNT_OTHERS = """
SELECT count(*) FILTER (WHERE master_key_id IS NULL), count(*) FILTER (WHERE logged_at IS NULL) FROM data_keys
"""
_WRAPPED_OTHERWISE = """
SELECT key_id, tenant, wrapped, master_key_id FROM data_keys
WHERE master_key_id = %(master_key_id)s::text AND key_id > %(after)s::uuid
ORDER BY key_id
LIMIT %(limit)s::integer
"""
# What an erasure has destroyed meanwhile stays destroyed.
_WRAP = """
UPDATE data_keys SET wrapped = %(wrapped)s, master_key_id = %(master_key_id)s, logged_at = NULL
WHERE key_id = %(key_id)s AND wrapped = %(former)s
"""
_RETIRE = """
UPDATE data_keys SET retired_at = now()
WHERE master_key_id = %(master_key_id)s::text AND retired_at IS NULL
"""
_IN_USE = """
SELECT coalesce(max(retired_at) > now() - make_interval(secs => %(seconds)s::double precision), false)
FROM data_keys WHERE master_key_id = %(master_key_id)s::text
"""
# The relay brings tombstones of them to the log.
_DESTROY = """
UPDATE data_keys SET
    destroyed_at = now(), retired_at = coalesce(retired_at, now()), logged_at = NULL,
    wrapped = NULL, master_key_id = NULL, subject = NULL, memory_id = NULL
WHERE master_key_id = %(master_key_id)s::text
"""


@dataclass(frozen=True)
class DataKeyCounts:
    """How many data keys there are.

    Attributes:
        wrapped: By the id of the master key.
        destroyed: By erasures, or because nobody could open them any more.
        unlogged: That the log has yet to get, or of which it has yet to hear that they are destroyed.
    """

    wrapped: Mapping[str, int]
    destroyed: int
    unlogged: int


def count_data_keys(dsn: str) -> DataKeyCounts:
    """Return how many data keys there are.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    with psycopg.connect(dsn) as connection:
        wrapped: dict[str, int] = dict(connection.execute(_COUNT).fetchall())
        destroyed, unlogged = connection.execute(_COUNT_OTHERS).fetchone() or (0, 0)
    return DataKeyCounts(wrapped, destroyed, unlogged)


async def log_data_keys(settings: OperatorSettings, masters: MasterKeys) -> None:
    """Bring to the log what it has not as the table has it, and return when it is there.

    Raises:
        SomaError: Brokers or registry do not answer, or refuse.
        psycopg.Error: The database cannot be reached or refuses.
    """
    async with (
        open_pool(settings.postgres) as pool,
        open_relay(settings, pool, masters, SystemClock()) as relay,
    ):
        await relay.finish()


def wrap_anew(dsn: str, masters: MasterKeys, advance: Callable[[int], object]) -> int:
    """Wrap every data key with the first master key, and return how many were wrapped with another one.

    Safe to interrupt and to repeat, while everything runs; no event is touched.

    Args:
        dsn: Of the database's owner.
        masters: The first wraps; the others unwrap.
        advance: Hears of so many more.

    Raises:
        MasterKeyError: The file has not the key that wrapped one; the others of before are wrapped anew.
        psycopg.Error: The database cannot be reached or refuses.
    """
    current, total = masters.ids[0], 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        for former, _ in connection.execute(_COUNT).fetchall():
            after = UUID(int=0)
            while former != current and (
                rows := connection.execute(
                    _WRAPPED_OTHERWISE, {"master_key_id": former, "after": after, "limit": _AT_ONCE}
                ).fetchall()
            ):
                after = rows[-1][0]
                total += _wrap(connection, masters, rows)
                advance(len(rows))
        record_act(connection, "encryption.rotated", current, {"data_keys": total})
    return total


def retire_wrapped(dsn: str, master_key_id: str, clock: SystemClock, *, destroy: bool) -> int:
    """Encrypt nothing more with the data keys that a master key wraps, and return how many that concerns.

    Args:
        dsn: Of the database's owner.
        master_key_id: The master key, which is lost.
        clock: Paces the wait until no publisher uses them any more, before they are destroyed.
        destroy: Take them for destroyed, as an erasure does: what they encrypt is passed over for good.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    name = {"master_key_id": master_key_id, "seconds": KEYS_IN_USE_SECONDS}
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            count = connection.execute(_RETIRE, name).rowcount
            record_act(connection, "encryption.retired", master_key_id, {"data_keys": count})
        if destroy:
            while (connection.execute(_IN_USE, name).fetchone() or (False,))[0]:
                clock.block(_LOOK_AGAIN_SECONDS)
            with connection.transaction():
                count = connection.execute(_DESTROY, name).rowcount
                record_act(connection, "encryption.destroyed", master_key_id, {"data_keys": count})
    return count


def _wrap(connection: psycopg.Connection[Any], masters: MasterKeys, rows: list[tuple[Any, ...]]) -> int:
    wrapped = 0
    for key_id, tenant, former, master_key_id in rows:
        secret = masters.unwrap(WrappedKey(former, master_key_id), tenant, key_id)
        anew = masters.wrap(secret, tenant, key_id)
        values = {"key_id": key_id, "former": former, **anew._asdict()}
        # One at a time: whoever holds several could wait for an erasure that waits for it.
        wrapped += connection.execute(_WRAP, values).rowcount
    return wrapped
