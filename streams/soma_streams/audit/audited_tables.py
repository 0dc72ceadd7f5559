"""What an audit asks the tables, and where it writes what it found."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from soma_schemas.events import MemoryDeleted, MemoryExpired, MemoryLinked, MemoryUnlinked
from soma_schemas.groups import SinkGroup
from soma_schemas.retention import TenantPolicies
from soma_schemas.versions import pack_version
from soma_streams.delivery.state import MemoryName
from soma_streams.sinks.binary_encoding import encode_texts, encode_uuids
from soma_streams.sinks.sessions import Pool, Sessions
from soma_streams.sinks.statements import statement
from soma_streams.sinks.vectors.memory_pages import Recorded, recorded

_OF_LINKS = [MemoryLinked.__name__, MemoryUnlinked.__name__]
_ENDINGS = frozenset({MemoryDeleted.__name__, MemoryExpired.__name__})

# OFFSET 0 keeps the planner from joining by anything but the key, whatever it thinks of the tables.
_LOST = """
SELECT wanted.version FROM unnest(%(versions)s::bigint[]) AS wanted (version)
WHERE NOT EXISTS (
    SELECT FROM public.memory_history AS known
    WHERE known.partition = %(partition)s::integer AND known.version = wanted.version
        AND known.logged_at BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
    OFFSET 0
)
"""
_BEHIND = """
SELECT applied.tenant, applied.memory_id, applied.version, held.version IS NULL
FROM (
    SELECT tenant, memory_id, max(version) AS version FROM public.memory_history
    WHERE partition = %(partition)s::integer
        AND version BETWEEN %(lowest)s::bigint AND %(highest)s::bigint
        AND logged_at BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
        AND outcome = 'applied' AND event_type <> ALL (%(of_links)s::text[])
    GROUP BY tenant, memory_id
) AS applied
LEFT JOIN LATERAL (
    SELECT version FROM public.memories
    WHERE memories.tenant = applied.tenant AND memories.memory_id = applied.memory_id
    OFFSET 0
) AS held ON true
WHERE held.version IS NULL OR held.version < applied.version
"""
_LAST_APPLIED = """
SELECT wanted.tenant, wanted.memory_id, last.version, last.event_type
FROM unnest(%(tenants)b::text[], %(memory_ids)b::uuid[]) AS wanted (tenant, memory_id)
CROSS JOIN LATERAL (
    SELECT version, event_type FROM public.memory_history AS known
    WHERE known.tenant = wanted.tenant AND known.memory_id = wanted.memory_id
        AND outcome = 'applied' AND event_type <> ALL (%(of_links)s::text[])
    ORDER BY version DESC
    LIMIT 1
) AS last
"""
_LETTERS = """
SELECT tenant, memory_id, epoch, log_offset FROM public.dead_letters
WHERE consumer_group = %(group)s::text AND tenant = ANY (%(tenants)s::text[])
    AND memory_id = ANY (%(memory_ids)s::uuid[]) AND epoch IS NOT NULL AND log_offset IS NOT NULL
"""
_POLICIES = """
SELECT namespace, rules, cap, set_at FROM public.retention_policies WHERE tenant = %(tenant)s::text
"""
_TELL = "SELECT pg_notify(%(channel)s::text, %(payload)s::text)"
_WRITE_DOWN = """
INSERT INTO public.audit_log (actor, action, subject, details)
VALUES ('soma-audit', %(action)s::text, %(audit)s::text, %(details)s::jsonb)
"""

# What an audit is called in the audit log.
AUDITED = "stores.audited"
AUDIT_FAILED = "stores.audit_failed"


class Span(NamedTuple):
    """Some records of a partition that follow each other.

    Attributes:
        versions: Under which the history has them.
        moments: When each was logged first.
        lowest: Version of the first record's own place.
        highest: Of the last one's.
    """

    partition: int
    versions: Sequence[int]
    moments: Sequence[datetime]
    lowest: int
    highest: int

    @property
    def first(self) -> datetime:
        """When the earliest was logged: history is kept by months."""
        return min(self.moments)

    @property
    def last(self) -> datetime:
        """When the latest was."""
        return max(self.moments)


class Behind(NamedTuple):
    """A row that is older than the last event that was applied to its memory, or that is gone."""

    version: int
    gone: bool


class Applied(NamedTuple):
    """The last event that the history says was applied to a memory."""

    version: int
    ends: bool


class AuditedTables:
    """Reads what an audit compares.

    Args:
        pool: Connections of a login with role soma_sinks.
    """

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def named(self, names: Collection[MemoryName]) -> dict[MemoryName, Recorded]:
        """Return the rows of memories, tombstones included.

        Raises:
            psycopg.Error: As the server or the connection tells it; so do all the others.
        """
        if not names:
            return {}
        async with self._sessions.borrow() as connection:
            found = await connection.execute(statement("postgres/read_memories"), _keys(names), binary=True)
            return {each.state.name: each for each in map(recorded, await found.fetchall())}

    async def lost(self, span: Span) -> frozenset[int]:
        """Return the versions of which no history says what became of them."""
        async with self._sessions.borrow() as connection:
            found = await connection.execute(_LOST, _within(span) | {"versions": list(span.versions)})
            return frozenset(version for (version,) in await found.fetchall())

    async def behind(self, span: Span) -> dict[MemoryName, Behind]:
        """Return the memories whose rows are older than what was applied to them."""
        async with self._sessions.borrow() as connection:
            found = await connection.execute(_BEHIND, _within(span) | {"of_links": _OF_LINKS})
            return {
                MemoryName(tenant, memory_id): Behind(version, gone)
                for tenant, memory_id, version, gone in await found.fetchall()
            }

    async def last_applied(self, names: Collection[MemoryName]) -> dict[MemoryName, Applied]:
        """Return what the history says was applied to memories last."""
        async with self._sessions.borrow() as connection:
            found = await connection.execute(_LAST_APPLIED, _keys(names) | {"of_links": _OF_LINKS})
            return {
                MemoryName(tenant, memory_id): Applied(version, event_type in _ENDINGS)
                for tenant, memory_id, version, event_type in await found.fetchall()
            }

    async def dead_lettered(self, names: Collection[MemoryName], group: SinkGroup) -> dict[MemoryName, int]:
        """Return the newest version of each memory that is a dead letter of one sink."""
        wanted = {
            "group": group.value,
            "tenants": list({name.tenant for name in names}),
            "memory_ids": [name.memory_id for name in names],
        }
        newest: dict[MemoryName, int] = {}
        async with self._sessions.borrow() as connection:
            found = await connection.execute(_LETTERS, wanted)
            for tenant, memory_id, epoch, offset in await found.fetchall():
                name = MemoryName(tenant, memory_id)
                newest[name] = max(newest.get(name, 0), pack_version(epoch, offset))
        return newest

    async def policies(self, tenant: str) -> TenantPolicies:
        """Return the retention policies in force of a tenant."""
        async with self._sessions.borrow() as connection:
            found = await connection.execute(_POLICIES, {"tenant": tenant})
            return TenantPolicies.of_rows(await found.fetchall())

    async def tell(self, channel: str, payload: str) -> None:
        """Tell whoever listens."""
        async with self._sessions.borrow() as connection:
            await connection.execute(_TELL, {"channel": channel, "payload": payload})

    async def write_down(self, audit: UUID, action: str, details: Mapping[str, Any]) -> None:
        """Put the result of an audit into the audit log."""
        async with self._sessions.borrow() as connection:
            await connection.execute(
                _WRITE_DOWN, {"audit": str(audit), "action": action, "details": Jsonb(dict(details))}
            )


def _within(span: Span) -> dict[str, Any]:
    return {
        "partition": span.partition,
        "lowest": span.lowest,
        "highest": span.highest,
        "first": span.first,
        "last": span.last,
    }


def _keys(names: Iterable[MemoryName]) -> dict[str, object]:
    wanted = list(names)
    return {
        "tenants": encode_texts([name.tenant for name in wanted]),
        "memory_ids": encode_uuids([name.memory_id for name in wanted]),
    }
