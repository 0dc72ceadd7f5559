"""Which memories have ended by the clock of this process: a condition of statements, and its values."""

from typing import Any, LiteralString

from soma_api.policies_in_force import PoliciesInForce
from soma_schemas.clock import Clock
from soma_schemas.retention import TenantPolicies


def cutoff_of(namespace: LiteralString, kind: LiteralString) -> LiteralString:
    """Return SQL for the last change at which memories of a namespace and kind have ended by policy.

    Null where no policy decides. Of the rules that reach there the nearest decides.
    """
    return f"""(
        SELECT reach.cutoff
        FROM unnest(
            %(policy_namespaces)s::text[], %(policy_kinds)s::text[], %(policy_cutoffs)s::timestamptz[]
        ) AS reach (place, of_kind, cutoff)
        WHERE reach.of_kind = {kind}
            AND (
                reach.place = ''
                OR {namespace} = reach.place
                OR ({namespace} >= reach.place || '/' AND {namespace} < reach.place || '0')
            )
        ORDER BY length(reach.place) DESC
        LIMIT 1
    )"""  # noqa: S608  # names of our own


# Of a row of `memories` that is no tombstone.
LIVING: LiteralString = f"""(
    (expires_at IS NULL OR expires_at > %(now)s::timestamptz)
    AND (
        %(policy_kinds)s::text[] IS NULL
        OR expires_at IS NOT NULL
        OR updated_at > coalesce({cutoff_of("namespace", "kind")}, '-infinity')
    )
)"""


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
        "policy_cutoffs": [reach.cutoff(now) for reach in reaches] or None,
    }
