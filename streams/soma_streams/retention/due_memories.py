"""Finds memories whose time has come or will soon, by index and in pages; each is judged again later."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from soma_schemas.fields import Kind
from soma_schemas.retention import RuleInForce, TenantPolicies
from soma_schemas.ruled_places import REACHED, RuledPlace, reached_by
from soma_streams.sinks.sessions import Connection

# With OFFSET 0 the planner does not read whole tables because they were small when the plan was made.
_ENDED_BY_THEMSELVES = """
SELECT tenant, memory_id, version, namespace, kind, updated_at, expires_at, importance
FROM public.memories
WHERE expires_at <= %(now)s::timestamptz AND expires_at >= %(after_deadline)s::timestamptz
    AND (expires_at, tenant, memory_id)
        > (%(after_deadline)s::timestamptz, %(after_tenant)s::text, %(after_id)s::uuid)
ORDER BY expires_at, tenant, memory_id
LIMIT %(most)s::bigint
"""
_UNTOLD_BY_THEMSELVES = """
SELECT tenant, memory_id, version, namespace, kind, updated_at, expires_at, importance
FROM public.memories
WHERE expires_at > %(now)s::timestamptz AND expires_at <= %(until)s::timestamptz
    AND expires_at >= %(after_deadline)s::timestamptz
    AND (expires_at, tenant, memory_id)
        > (%(after_deadline)s::timestamptz, %(after_tenant)s::text, %(after_id)s::uuid)
    AND tenant = ANY (%(tenants)s::text[])
    AND NOT EXISTS (
        SELECT FROM public.retention_notices AS told
        WHERE told.tenant = memories.tenant AND told.memory_id = memories.memory_id
            AND told.deadline = memories.expires_at
        OFFSET 0
    )
ORDER BY expires_at, tenant, memory_id
LIMIT %(most)s::bigint
"""
_ENDED_BY_POLICY = f"""
SELECT held.*
FROM {REACHED}
CROSS JOIN LATERAL (
    SELECT tenant, memory_id, version, namespace, kind, updated_at, expires_at, importance
    FROM public.memories
    WHERE tenant = place.tenant AND namespace = place.namespace AND kind = place.kind
        AND expires_at IS NULL AND NOT deleted
        AND importance_hundredths = counted.hundredths
        AND updated_at <= reached.cutoff
    ORDER BY updated_at, memory_id
    LIMIT %(most)s::bigint
) AS held
LIMIT %(most)s::bigint
"""  # noqa: S608  # put together from a constant, as the next one is
# A rule that ends nothing yet leaves its whole notice period to what is older.
_UNTOLD_BY_POLICY = f"""
SELECT held.*
FROM {REACHED}
CROSS JOIN LATERAL (
    SELECT tenant, memory_id, version, namespace, kind, updated_at, expires_at, importance
    FROM public.memories
    WHERE tenant = place.tenant AND namespace = place.namespace AND kind = place.kind
        AND expires_at IS NULL AND NOT deleted
        AND importance_hundredths = counted.hundredths
        AND updated_at <= reached.cutoff + place.notice * interval '1 second'
        AND updated_at > CASE
            WHEN place.ends_from > %(now)s::timestamptz THEN '-infinity' ELSE reached.cutoff
        END
        AND NOT EXISTS (
            SELECT FROM public.retention_notices AS told
            WHERE told.tenant = memories.tenant AND told.memory_id = memories.memory_id
                AND told.deadline
                    = greatest(memories.updated_at + (%(now)s::timestamptz - reached.cutoff), place.ends_from)
            OFFSET 0
        )
    ORDER BY updated_at, memory_id
    LIMIT %(most)s::bigint
) AS held
LIMIT %(most)s::bigint
"""  # noqa: S608
# Where a tenant has memories, along the primary key.
_PLACES = """
SELECT namespace, kind FROM public.namespace_counts
WHERE tenant = %(tenant)s::text AND (namespace, kind) > (%(after_namespace)s::text, %(after_kind)s::text)
GROUP BY namespace, kind
HAVING sum(number) > 0
ORDER BY namespace, kind
LIMIT %(most)s::bigint
"""

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_NOBODY = UUID(int=0)
_PLACES_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class AgingMemory:
    """A living memory, as far as its deadline depends on it.

    Attributes:
        expires_at: Its own deadline.
    """

    tenant: str
    memory_id: UUID
    version: int
    namespace: str
    kind: Kind
    updated_at: datetime
    expires_at: datetime | None
    importance: float


Page = Sequence[AgingMemory]


async def ended_by_themselves(connection: Connection, now: datetime, most: int) -> AsyncIterator[Page]:
    """Yield the memories whose own deadline has passed, the oldest first."""
    async for page in _along_deadlines(connection, _ENDED_BY_THEMSELVES, {"now": now}, most):
        yield page


async def untold_by_themselves(
    connection: Connection, tenants: Collection[str], now: datetime, notice_seconds: int, most: int
) -> AsyncIterator[Page]:
    """Yield the memories of some tenants whose own deadline comes so soon, and of which nobody was told."""
    values = {"now": now, "until": moved(now, notice_seconds), "tenants": list(tenants)}
    async for page in _along_deadlines(connection, _UNTOLD_BY_THEMSELVES, values, most):
        yield page


async def ended_by_policy(
    connection: Connection, tenant: str, policies: TenantPolicies, now: datetime, most: int
) -> AsyncIterator[Page]:
    """Yield the memories of a tenant whose deadline by policy has passed."""
    async for ruled in _places(connection, tenant, policies):
        places = [RuledPlace(tenant, *each, each[-1].ended(now)) for each in ruled]
        async for page in _until_nothing_new(connection, _ENDED_BY_POLICY, reached_by(places, now), most):
            yield page


async def untold_by_policy(
    connection: Connection, tenant: str, policies: TenantPolicies, now: datetime, most: int
) -> AsyncIterator[Page]:
    """Yield the memories of a tenant whose notice period by policy has begun, untold ones alone."""
    async for ruled in _places(connection, tenant, policies):
        told = [each for each in ruled if each[-1].rule.notice_seconds]
        places = [RuledPlace(tenant, *each, each[-1].limits(now)) for each in told]
        if places:
            async for page in _until_nothing_new(
                connection, _UNTOLD_BY_POLICY, reached_by(places, now), most
            ):
                yield page


async def _along_deadlines(
    connection: Connection, query: str, values: dict[str, object], most: int
) -> AsyncIterator[Page]:
    after: dict[str, object] = {"after_deadline": _FIRST, "after_tenant": "", "after_id": _NOBODY}
    while page := await _page(connection, query, values | after | {"most": most}):
        yield page
        last = page[-1]
        after = {
            "after_deadline": last.expires_at,
            "after_tenant": last.tenant,
            "after_id": last.memory_id,
        }


async def _until_nothing_new(
    connection: Connection, query: str, values: dict[str, object], most: int
) -> AsyncIterator[Page]:
    """Ask again and again: what was dealt with is not found any more, and what is found again was not due."""
    seen: set[AgingMemory] = set()
    while page := [
        each for each in await _page(connection, query, values | {"most": most}) if each not in seen
    ]:
        yield page
        seen.update(page)


async def _page(connection: Connection, query: str, values: dict[str, object]) -> Page:
    rows = await connection.execute(query.encode(), values)
    return [
        AgingMemory(tenant, memory_id, version, namespace, Kind(kind), *aging)
        for tenant, memory_id, version, namespace, kind, *aging in await rows.fetchall()
    ]


async def _places(
    connection: Connection, tenant: str, policies: TenantPolicies
) -> AsyncIterator[Sequence[tuple[str, Kind, RuleInForce]]]:
    after = {"after_namespace": "", "after_kind": ""}
    while True:
        rows = await connection.execute(_PLACES, {"tenant": tenant, "most": _PLACES_AT_ONCE, **after})
        found = await rows.fetchall()
        if not found:
            return
        ruled = [
            (namespace, Kind(kind), policies.rule_for(namespace, Kind(kind))) for namespace, kind in found
        ]
        if places := [(namespace, kind, rule) for namespace, kind, rule in ruled if rule is not None]:
            yield places
        after = {"after_namespace": found[-1][0], "after_kind": found[-1][1]}


def moved(moment: datetime, seconds: int) -> datetime:
    """Return a time so much later or earlier, or the end of the calendar on that side."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return _FIRST if seconds < 0 else _LAST
