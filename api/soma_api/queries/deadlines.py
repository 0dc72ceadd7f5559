"""Which memories have ended by the clock of this process: a condition of statements, and its values."""

from typing import Any, LiteralString

from soma_api.policies_in_force import PoliciesInForce
from soma_schemas.clock import Clock
from soma_schemas.retention import TenantPolicies, as_columns


def nearest_reach(namespace: LiteralString, kind: LiteralString) -> LiteralString:
    """Return SQL that selects how long the nearest rule keeps memories of a namespace and kind, if any."""
    return f"""
        SELECT reach.cutoff, reach.half_life, reach.lowest, reach.shortest
        FROM unnest(
            %(policy_namespaces)s::text[], %(policy_kinds)s::text[], %(policy_cutoffs)s::timestamptz[],
            %(policy_half_lives)s::bigint[], %(policy_floors)s::float8[], %(policy_shortest)s::bigint[]
        ) AS reach (place, of_kind, cutoff, half_life, lowest, shortest)
        WHERE reach.of_kind = {kind}
            AND (
                reach.place = ''
                OR {namespace} = reach.place
                OR ({namespace} >= reach.place || '/' AND {namespace} < reach.place || '0')
            )
        ORDER BY length(reach.place) DESC
        LIMIT 1
    """  # noqa: S608  # names of our own


# Of a row of `memories` that is no tombstone.
LIVING: LiteralString = f"""(
    (expires_at IS NULL OR expires_at > %(now)s::timestamptz)
    AND (
        %(policy_kinds)s::text[] IS NULL
        OR expires_at IS NOT NULL
        OR updated_at > coalesce(
            (
                SELECT soma_cutoff(
                    %(now)s::timestamptz, cutoff, half_life, lowest, shortest, importance_hundredths
                )
                FROM ({nearest_reach("namespace", "kind")}) AS reach
            ),
            '-infinity'
        )
    )
)"""  # noqa: S608


class Deadlines:
    """Knows what `LIVING` asks for.

    Args:
        policies: Of the tenants.
        clock: Says what has ended: that of this process.
    """

    def __init__(self, policies: PoliciesInForce, clock: Clock) -> None:
        self._policies = policies
        self._clock = clock

    async def values(self, tenant: str) -> dict[str, Any]:
        """Return the parameters of `LIVING` for now.

        Raises:
            StoreUnavailableError: The policies are not known, and the database does not answer.
        """
        return deadline_values(await self._policies.of(tenant), self._clock)


def deadline_values(policies: TenantPolicies, clock: Clock) -> dict[str, Any]:
    """Return the parameters of `LIVING` under these policies."""
    now = clock.now()
    reaches = policies.reaches()
    return {
        "now": now,
        # Null folds the condition away.
        "policy_namespaces": [reach.namespace or "" for reach in reaches] or None,
        "policy_kinds": [reach.kind.value for reach in reaches] or None,
        **{
            f"policy_{name}": values or None
            for name, values in as_columns([reach.decides.ended(now) for reach in reaches]).items()
        },
    }
