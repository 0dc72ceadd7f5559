"""Looks up API keys, before their tenant is known, and notes when they were used."""

from collections.abc import Mapping
from datetime import datetime

from soma_api.key_uses import KeyUse
from soma_api.principals import StoredKey
from soma_api.queries.database import Database
from soma_api.roles import Role

_FIND = """
SELECT key_id, tenant, role, namespaces, secret_hash, expires_at, revoked_at, former_secret_hash,
    former_expires_at, record_access
FROM soma_find_api_key(%(key_id)s::text)
"""

_NOTE_USES = """
SELECT soma_note_key_uses(%(key_ids)s::text[], %(former)s::boolean[], %(moments)s::timestamptz[])
"""


class ApiKeyQueries:
    """Questions about API keys, and the one thing that the API writes of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key_id: str) -> StoredKey | None:
        """Return a key by its id, or None.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        rows = await self._database.rows_without_tenant(_FIND, {"key_id": key_id})
        if not rows:
            return None
        key_id, tenant, role, namespaces, secret_hash, expires_at, revoked_at, *others = rows[0]
        former, former_ends, record_access = others
        return StoredKey(
            key_id=key_id,
            tenant=tenant,
            role=Role(role),
            namespaces=None if namespaces is None else tuple(namespaces),
            secret_hash=secret_hash,
            expires_at=expires_at,
            revoked_at=revoked_at,
            former_secret_hash=former,
            former_expires_at=former_ends,
            record_access=record_access,
        )

    async def note_uses(self, uses: Mapping[KeyUse, datetime]) -> None:
        """Note when keys were last used. Repeating it changes nothing.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        await self._database.rows_without_tenant(
            _NOTE_USES,
            {
                "key_ids": [use.key_id for use in uses],
                "former": [use.former for use in uses],
                "moments": list(uses.values()),
            },
        )
