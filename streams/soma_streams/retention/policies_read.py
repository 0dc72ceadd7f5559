"""Reads the policies in force from their table, anew each time: they judge as of now."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from soma_schemas.retention import TenantPolicies
from soma_streams.sinks.sessions import Connection

_CLOCK = "SELECT clock_timestamp()"
_POLICIES = """
SELECT held.tenant, held.namespace, held.rules, held.cap, held.set_at
FROM unnest(%(tenants)s::text[]) AS wanted (tenant)
CROSS JOIN LATERAL (
    SELECT * FROM public.retention_policies WHERE retention_policies.tenant = wanted.tenant OFFSET 0
) AS held
"""
# Tenants that have policies, one after the other along the primary key.
_NEXT_TENANT = """
SELECT min(tenant) FROM public.retention_policies WHERE tenant > %(after)s::text
"""


async def policies_of(connection: Connection, tenants: Collection[str]) -> Mapping[str, TenantPolicies]:
    """Return the policies in force of some tenants; one without any has none that decide."""
    rows = await connection.execute(_POLICIES, {"tenants": sorted(set(tenants))})
    found: dict[str, list[tuple[str, Any, Any, datetime]]] = {tenant: [] for tenant in tenants}
    for tenant, namespace, rules, cap, set_at in await rows.fetchall():
        found[tenant].append((namespace, rules, cap, set_at))
    return {tenant: TenantPolicies.of_rows(policies) for tenant, policies in found.items()}


async def next_tenant(connection: Connection, after: str) -> str | None:
    """Return the next tenant that has a policy, in the order of their names; None behind the last."""
    row = await (await connection.execute(_NEXT_TENANT, {"after": after})).fetchone()
    return row[0] if row is not None else None


async def database_time(connection: Connection) -> datetime:
    """Return the time of day by the database's clock, UTC."""
    row = await (await connection.execute(_CLOCK)).fetchone()
    if row is None:
        raise RuntimeError("the database does not tell its time")
    moment: datetime = row[0]
    return moment
