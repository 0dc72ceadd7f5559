"""Finds memories above the cap of their namespace: the least important first, of those the oldest."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from soma_schemas.events import SizeCap
from soma_schemas.retention import TenantPolicies
from soma_streams.sinks.sessions import Connection

# Counted and chosen in one snapshot: what somebody deletes meanwhile is not counted twice.
_SURPLUS = """
SELECT held.memory_id, held.version, held.updated_at, held.expires_at, told.deadline
FROM (
    SELECT memory_id, version, updated_at, expires_at FROM public.memories
    WHERE tenant = %(tenant)s::text AND namespace = %(namespace)s::text AND NOT deleted
    ORDER BY importance, updated_at, memory_id
    LIMIT (
        SELECT greatest(coalesce(sum(number), 0)::bigint - %(max_memories)s::bigint, 0)
        FROM public.namespace_counts
        WHERE tenant = %(tenant)s::text AND namespace = %(namespace)s::text
    )
) AS held
CROSS JOIN LATERAL (
    SELECT min(deadline) AS deadline FROM public.retention_notices
    WHERE tenant = %(tenant)s::text AND memory_id = held.memory_id AND seen_updated_at = held.updated_at
) AS told
WHERE CASE WHEN told.deadline IS NULL THEN %(untold)s::boolean
    ELSE told.deadline <= %(told_by)s::timestamptz END
LIMIT %(most)s::bigint
"""
# Along the primary key.
_NAMESPACES = """
SELECT namespace, sum(number)::bigint FROM public.namespace_counts
WHERE tenant = %(tenant)s::text AND namespace > %(after)s::text
GROUP BY namespace
HAVING sum(number) > 0
ORDER BY namespace
LIMIT %(most)s::bigint
"""
# The few whose time is over are the beginning of an index; whose they are is asked after.
_TIME_IS_OVER = """
SELECT FROM (
    SELECT tenant, seen_updated_at FROM public.retention_notices
    WHERE deadline <= %(now)s::timestamptz
    ORDER BY deadline
    OFFSET 0
) AS due
WHERE tenant = %(tenant)s::text AND seen_updated_at IS NOT NULL
LIMIT 1
"""
_NAMESPACES_AT_ONCE = 200
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SurplusMemory:
    """A living memory above the cap of its namespace.

    Attributes:
        cap: Of the namespace.
        expires_at: Its own deadline.
        told: When it ends by the notice that was given of this state of it; None without one.
    """

    tenant: str
    memory_id: UUID
    namespace: str
    cap: SizeCap
    version: int
    updated_at: datetime
    expires_at: datetime | None
    told: datetime | None


SurplusPage = Sequence[SurplusMemory]


class CrowdedNamespace(NamedTuple):
    """A namespace with more memories than it may have."""

    tenant: str
    namespace: str
    cap: SizeCap


async def crowded(
    connection: Connection, tenant: str, policies: TenantPolicies
) -> AsyncIterator[CrowdedNamespace]:
    """Yield the namespaces of a tenant that have more memories than they may."""
    if not policies.caps:
        return
    after = ""
    while True:
        rows = await connection.execute(
            _NAMESPACES, {"tenant": tenant, "after": after, "most": _NAMESPACES_AT_ONCE}
        )
        found = await rows.fetchall()
        if not found:
            return
        for namespace, number in found:
            cap = policies.cap_for(namespace)
            if cap is not None and number > cap.max_memories:
                yield CrowdedNamespace(tenant, namespace, cap)
        after = found[-1][0]


async def due_surplus(
    connection: Connection, place: CrowdedNamespace, now: datetime, most: int
) -> AsyncIterator[SurplusPage]:
    """Yield what is above a cap and whose notice period is over; each page has to end before the next."""
    # Without a notice period any will do, also what was told of while there was one.
    at_once = not place.cap.notice_seconds
    if not at_once:
        over = await connection.execute(_TIME_IS_OVER, {"tenant": place.tenant, "now": now})
        if not over.rowcount:
            return
    told_by = _LAST if at_once else now
    async for page in _pages(connection, place, {"untold": at_once, "told_by": told_by, "most": most}):
        yield page


async def untold_surplus(
    connection: Connection, place: CrowdedNamespace, most: int
) -> AsyncIterator[SurplusPage]:
    """Yield what is above a cap with a notice period and was not told of; each page has to be remembered."""
    if place.cap.notice_seconds:
        async for page in _pages(connection, place, {"untold": True, "told_by": None, "most": most}):
            yield page


async def _pages(
    connection: Connection, place: CrowdedNamespace, values: dict[str, object]
) -> AsyncIterator[SurplusPage]:
    tenant, namespace, cap = place
    values |= {"tenant": tenant, "namespace": namespace, "max_memories": cap.max_memories}
    seen: set[tuple[UUID, int]] = set()
    while True:
        rows = await connection.execute(_SURPLUS, values)
        page = [
            SurplusMemory(tenant, memory_id, namespace, cap, version, updated_at, expires_at, told)
            for memory_id, version, updated_at, expires_at, told in await rows.fetchall()
            if (memory_id, version) not in seen
        ]
        if not page:
            return
        yield page
        seen.update((each.memory_id, each.version) for each in page)
