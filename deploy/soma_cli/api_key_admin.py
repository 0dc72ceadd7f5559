"""API keys in PostgreSQL: made, listed, rotated and revoked by its owner; the table puts that on record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import kwargs_row

from soma_api.api_keys import ApiKey, new_key
from soma_api.roles import Role

_CREATE = """
INSERT INTO api_keys
    (key_id, tenant, role, namespaces, secret_hash, created_at, expires_at, label, record_access)
VALUES (%(key_id)s, %(tenant)s, %(role)s, %(namespaces)s::text[], %(digest)s, %(now)s,
    %(expires_at)s, %(label)s, %(record_access)s)
"""

_LIST = """
SELECT key_id, tenant, role, namespaces, label, created_at, expires_at, revoked_at, rotated_at,
    former_expires_at, last_used_at, former_last_used_at, record_access
FROM api_keys
WHERE %(tenant)s::text IS NULL OR tenant = %(tenant)s
ORDER BY created_at, key_id
"""

_REVOKE = """
UPDATE api_keys SET revoked_at = coalesce(revoked_at, %(now)s)
WHERE key_id = %(key_id)s
RETURNING key_id, tenant, role, namespaces, label, created_at, expires_at, revoked_at, rotated_at,
    former_expires_at, last_used_at, former_last_used_at, record_access
"""

_ROTATE = """
UPDATE api_keys SET
    secret_hash = %(digest)s,
    rotated_at = %(now)s,
    former_secret_hash = secret_hash,
    former_expires_at = %(former_expires_at)s,
    former_last_used_at = NULL
WHERE key_id = %(key_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)
RETURNING key_id, tenant, role, namespaces, label, created_at, expires_at, revoked_at, rotated_at,
    former_expires_at, last_used_at, former_last_used_at, record_access
"""

_DIGEST = """
SELECT secret_hash FROM api_keys
WHERE key_id = %(key_id)s AND tenant = %(tenant)s AND revoked_at IS NULL
"""


@dataclass(frozen=True)
class KeyRecord:
    """What is known of a key; its secret is not.

    Attributes:
        namespaces: What it opens, each with all below it; None is everything.
        rotated_at: When it last got a new secret.
        former_expires_at: Until when the secret before that one is good.
        last_used_at: With either secret, to the minute.
        former_last_used_at: With the former one.
        record_access: Whether what it reads is counted as accessed.
    """

    key_id: str
    tenant: str
    role: Role
    namespaces: tuple[str, ...] | None
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_at: datetime | None
    former_expires_at: datetime | None
    last_used_at: datetime | None
    former_last_used_at: datetime | None
    record_access: bool


@dataclass(frozen=True)
class NewKey:
    """What a key shall be allowed, and whether what it reads shall be counted as accessed."""

    tenant: str
    role: Role
    namespaces: Sequence[str] | None = None
    label: str = ""
    expires_at: datetime | None = None
    record_access: bool = False


def create_key(
    dsn: str, wanted: NewKey, now: datetime, *, keep: Callable[[ApiKey], object] | None = None
) -> ApiKey:
    """Make a key and return it in the clear: it cannot be shown again.

    Args:
        dsn: Of the database's owner.
        wanted: What it shall be allowed.
        now: Noted as the time at which it was made.
        keep: Called before the key is valid; a key that this cannot keep is not made.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    key = new_key()
    with psycopg.connect(dsn) as connection:
        connection.execute(
            _CREATE,
            {
                "key_id": key.key_id,
                "tenant": wanted.tenant,
                "role": wanted.role.value,
                "namespaces": None if wanted.namespaces is None else list(wanted.namespaces),
                "digest": key.digest(),
                "now": now,
                "expires_at": wanted.expires_at,
                "label": wanted.label,
                "record_access": wanted.record_access,
            },
        )
        if keep is not None:
            keep(key)
    return key


def list_keys(dsn: str, tenant: str | None) -> list[KeyRecord]:
    """Return the keys of a tenant, or of all, oldest first.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=kwargs_row(_record_of)) as cursor:
        return cursor.execute(
            _LIST,
            {"tenant": tenant},
        ).fetchall()


def rotate_key(dsn: str, key_id: str, overlap: timedelta, now: datetime) -> tuple[ApiKey, KeyRecord] | None:
    """Give a key a new secret and return it in the clear, with what is known of the key.

    Args:
        dsn: Of the database's owner.
        key_id: The key keeps it, and all that it is allowed.
        overlap: How long the secret that it had stays good. One before that ends at once.
        now: Noted as the time of the rotation.

    Returns:
        None when there is no such key, or it has ended.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    key = ApiKey(key_id, new_key().secret)
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=kwargs_row(_record_of)) as cursor:
        found = cursor.execute(
            _ROTATE,
            {"key_id": key_id, "digest": key.digest(), "now": now, "former_expires_at": now + overlap},
        ).fetchone()
        if found is None:
            return None
    return key, found


def is_current(dsn: str, key: ApiKey, tenant: str) -> bool:
    """Say whether a key of this tenant has this secret, and not another one since.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    with psycopg.connect(dsn) as connection:
        found = connection.execute(_DIGEST, {"key_id": key.key_id, "tenant": tenant}).fetchone()
    return found is not None and key.matches(found[0])


def revoke_key(dsn: str, key_id: str, now: datetime) -> KeyRecord | None:
    """End a key and return what it was; None when there is no such key. One that was revoked stays as it was.

    Raises:
        psycopg.Error: The database cannot be reached or refuses.
    """
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=kwargs_row(_record_of)) as cursor:
        return cursor.execute(_REVOKE, {"key_id": key_id, "now": now}).fetchone()


def _record_of(role: str, namespaces: list[str] | None, **columns: Any) -> KeyRecord:
    return KeyRecord(role=Role(role), namespaces=None if namespaces is None else tuple(namespaces), **columns)
