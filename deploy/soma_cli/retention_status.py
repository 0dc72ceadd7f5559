"""How the sweeper of retention stands, as the tables tell: what is overdue, told and on its way."""

from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from soma_schemas.fields import Kind
from soma_schemas.retention import TenantPolicies
from soma_schemas.ruled_places import REACHED, RuledPlace, reached_by

_POLICIES = "SELECT tenant, namespace, rules, cap, set_at FROM retention_policies"

# Rows for what each tenant with a policy has; the rules decide outside of the database.
_PLACES = """
SELECT tenant, namespace, kind, sum(number)::bigint FROM namespace_counts
WHERE tenant IN (SELECT tenant FROM retention_policies)
GROUP BY tenant, namespace, kind
HAVING sum(number) > 0
"""

_OVERDUE = f"""
SELECT count(*), min(ended)
FROM (
    SELECT expires_at FROM memories WHERE expires_at <= %(now)s::timestamptz AND NOT deleted
    UNION ALL
    SELECT greatest(due.updated_at + (%(now)s::timestamptz - reached.cutoff), place.ends_from)
    FROM {REACHED}
    CROSS JOIN LATERAL (
        SELECT updated_at FROM memories
        WHERE tenant = place.tenant
            AND NOT deleted
            AND namespace = place.namespace
            AND kind = place.kind
            AND importance_hundredths = counted.hundredths
            AND updated_at <= reached.cutoff
            AND expires_at IS NULL
        ORDER BY updated_at  -- names the index: an empty table likes another as well
        OFFSET 0
    ) AS due
) AS overdue (ended)
"""  # noqa: S608  # put together from a constant

_HISTORY = """
SELECT min(right(relname, 7)), max(right(relname, 7))
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'memory_history'::regclass
"""
_TOLD = "SELECT count(*) FROM retention_notices"
_QUEUED = "SELECT count(*) FROM outbox"


class RetentionState(NamedTuple):
    """What the tables tell.

    Attributes:
        policies: In force, of all tenants.
        overdue: Memories that have ended and are still there; nobody is shown them.
        above_cap: Memories that their namespaces have above their caps.
        oldest: When the first of them ended; None when there is none.
        told: Notices in `memory.expiring` whose deadline is still to come, or has just passed.
        queued: Last states on their way to `memory.expired`.
        history: The first and the last month of the history, as `2026-11`; None when there is none.
    """

    policies: int
    overdue: int
    above_cap: int
    oldest: datetime | None
    told: int
    queued: int
    history: tuple[str, str] | None


def retention_state(conninfo: str, now: datetime) -> RetentionState:
    """Return how retention stands.

    Args:
        conninfo: To the database, as somebody who sees every tenant.
        now: The time by which memories are overdue.

    Raises:
        psycopg.Error: The database does not answer.
    """
    with psycopg.connect(conninfo, options="-c enable_seqscan=off") as connection:
        policies = connection.execute(_POLICIES).fetchall()
        reached, above_cap = _reached(connection, policies, now)
        ((overdue, oldest),) = connection.execute(_OVERDUE, reached).fetchall()
        ((told,),) = connection.execute(_TOLD).fetchall()
        ((queued,),) = connection.execute(_QUEUED).fetchall()
        ((first, last),) = connection.execute(_HISTORY).fetchall()
    history = None if first is None else (first.replace("_", "-"), last.replace("_", "-"))
    return RetentionState(len(policies), overdue, above_cap, oldest, told, queued, history)


def _reached(
    connection: psycopg.Connection[Any], policies: list[tuple[Any, ...]], now: datetime
) -> tuple[dict[str, list[Any]], int]:
    """Return what rules reach, as the statement takes it, and how many memories are above a cap."""
    by_tenant: dict[str, list[tuple[str, Any, Any, datetime]]] = {}
    for tenant, namespace, rules, cap, set_at in policies:
        by_tenant.setdefault(tenant, []).append((namespace, rules, cap, set_at))
    in_force = {tenant: TenantPolicies.of_rows(each) for tenant, each in by_tenant.items()}
    sizes: Counter[tuple[str, str]] = Counter()
    ruled: list[RuledPlace] = []
    for tenant, namespace, kind, number in connection.execute(_PLACES):
        sizes[tenant, namespace] += number
        decides = in_force[tenant].rule_for(namespace, Kind(kind)) if tenant in in_force else None
        if decides is not None:
            ruled.append(RuledPlace(tenant, namespace, Kind(kind), decides, decides.ended(now)))
    above = sum(
        max(0, number - cap.max_memories)
        for (tenant, namespace), number in sizes.items()
        if tenant in in_force and (cap := in_force[tenant].cap_for(namespace)) is not None
    )
    return reached_by(ruled, now), above
