"""Retires the data keys of what is erased, and destroys them once nobody encrypts with them any more.

The keys of a subject, a memory or a tenant are retired when the request is accepted: what is stored from then
on has another key. Those of patches follow with the memories that are found.
"""

from typing import LiteralString
from uuid import UUID

from soma_schemas.encryption.data_keys import KEYS_IN_USE_SECONDS
from soma_schemas.events import ErasureScope
from soma_streams.sinks.sessions import Connection

_SELECTED: dict[ErasureScope, LiteralString] = {
    ErasureScope.SUBJECT: "subject = %(selector)s::text",
    ErasureScope.MEMORY: "memory_id = %(selector)s::uuid",
    ErasureScope.TENANT: "true",
}
# Also one that a restore found to have a successor.
_RETIRED_BY_NOBODY: LiteralString = "data_keys.retired_by IS NULL AND data_keys.destroyed_at IS NULL"
_RETIRE_SELECTED = {
    scope: f"""
    UPDATE public.data_keys
    SET retired_at = coalesce(retired_at, now()), retired_by = %(request_id)s::uuid
    WHERE tenant = %(tenant)s::text AND {_RETIRED_BY_NOBODY} AND {condition}
    """  # noqa: S608  # the conditions above
    for scope, condition in _SELECTED.items()
}
_RETIRE_OF_TARGETS = f"""
UPDATE data_keys SET retired_at = coalesce(retired_at, now()), retired_by = %(request_id)s::uuid
FROM erasure_targets AS target
WHERE target.tenant = %(tenant)s::text AND target.request_id = %(request_id)s::uuid
    AND data_keys.tenant = target.tenant AND data_keys.memory_id = target.memory_id
    AND {_RETIRED_BY_NOBODY}
"""  # noqa: S608  # the condition above
# A memory that was about the subject for a time, and lives on.
_RETIRE_OF_PAST = f"""
UPDATE data_keys SET retired_at = coalesce(retired_at, now()), retired_by = %(request_id)s::uuid
FROM (
    SELECT DISTINCT memory_id FROM memory_history
    WHERE tenant = %(tenant)s::text AND content ->> 'subject' = %(selector)s::text
) AS said
WHERE data_keys.tenant = %(tenant)s::text AND data_keys.memory_id = said.memory_id
    AND {_RETIRED_BY_NOBODY}
"""  # noqa: S608  # the condition above
_IN_USE = """
SELECT coalesce(max(retired_at) > now() - make_interval(secs => %(seconds)s::double precision), false)
FROM data_keys
WHERE tenant = %(tenant)s::text AND retired_by = %(request_id)s::uuid AND destroyed_at IS NULL
"""
_RETIRED = """
SELECT key_id FROM data_keys WHERE tenant = %(tenant)s::text AND retired_by = %(request_id)s::uuid
"""
_UNLOGGED = """
SELECT EXISTS (
    SELECT FROM data_keys
    WHERE tenant = %(tenant)s::text AND retired_by = %(request_id)s::uuid AND logged_at IS NULL
)
"""
# The log has yet to hear of it: a tombstone takes the wrapped key from there too.
_DESTROY = """
UPDATE public.data_keys SET
    destroyed_at = now(), wrapped = NULL, master_key_id = NULL, subject = NULL, memory_id = NULL,
    logged_at = NULL
WHERE tenant = %(tenant)s::text AND retired_by = %(request_id)s::uuid AND destroyed_at IS NULL
"""


def retiring_selected(
    scope: ErasureScope, selector: str | None, tenant: str, request_id: UUID
) -> tuple[bytes, dict[str, object]] | None:
    """Return what lets nothing new be encrypted with the keys that a request selects by name, if any."""
    if scope not in _RETIRE_SELECTED:
        return None
    return _RETIRE_SELECTED[scope].encode(), _name(tenant, request_id) | {"selector": selector}


async def retire_found(
    connection: Connection, scope: ErasureScope, selector: str | None, tenant: str, request_id: UUID
) -> bool:
    """Retire the keys of the memories that were found, and say whether a publisher may still use one."""
    name = _name(tenant, request_id)
    await connection.execute(_RETIRE_OF_TARGETS.encode(), name)
    if scope is ErasureScope.SUBJECT:
        await connection.execute(_RETIRE_OF_PAST.encode(), name | {"selector": selector}, prepare=False)
    row = await (await connection.execute(_IN_USE, name | {"seconds": KEYS_IN_USE_SECONDS})).fetchone()
    return row is not None and bool(row[0])


async def retired_keys(connection: Connection, tenant: str, request_id: UUID) -> list[UUID]:
    """Return the keys that an erasure has retired, destroyed ones included."""
    found = await connection.execute(_RETIRED, _name(tenant, request_id))
    return [row[0] for row in await found.fetchall()]


async def unlogged_keys(connection: Connection, tenant: str, request_id: UUID) -> bool:
    """Say whether the log has yet to hear that a key is destroyed."""
    row = await (await connection.execute(_UNLOGGED, _name(tenant, request_id))).fetchone()
    return row is not None and bool(row[0])


async def destroy(connection: Connection, tenant: str, request_id: UUID) -> int:
    """Destroy the keys that an erasure has retired, and return how many there were left."""
    return (await connection.execute(_DESTROY, _name(tenant, request_id))).rowcount


def _name(tenant: str, request_id: UUID) -> dict[str, object]:
    return {"tenant": tenant, "request_id": request_id}
