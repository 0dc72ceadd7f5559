"""Looks up API keys, before their tenant is known."""

from soma_api.principals import Role, StoredKey
from soma_api.queries.database import Database

_FIND = """
SELECT key_id, tenant, role, namespaces, secret_hash, expires_at, revoked_at
FROM soma_find_api_key(%(key_id)s::text)
"""


class ApiKeyQueries:
    """Questions about API keys."""

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
        key_id, tenant, role, namespaces, secret_hash, expires_at, revoked_at = rows[0]
        return StoredKey(
            key_id=key_id,
            tenant=tenant,
            role=Role(role),
            namespaces=None if namespaces is None else tuple(namespaces),
            secret_hash=secret_hash,
            expires_at=expires_at,
            revoked_at=revoked_at,
        )
