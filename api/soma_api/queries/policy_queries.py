"""Retention policies: those in force, how far their sink is, and what one would end if it were set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from soma_api.queries.database import Database
from soma_schemas.events import RetentionRule, SizeCap
from soma_schemas.fields import Kind
from soma_schemas.groups import SinkGroup
from soma_schemas.retention import TenantPolicies
from soma_schemas.ruled_places import REACHED, RuledPlace, reached_by
from soma_schemas.versions import Position

_IN_FORCE = """
SELECT nullif(namespace, ''), rules, cap, actor, set_at FROM retention_policies
WHERE tenant = %(tenant)s::text
ORDER BY namespace
"""

_SETTLED = """
SELECT FROM sink_watermarks
WHERE consumer_group = %(group)s::text
    AND topic = %(topic)s::text
    AND partition = %(partition)s::integer
    AND epoch = %(epoch)s::integer
    AND next_offset > %(offset)s::bigint
"""

_PLACES = """
SELECT namespace, kind, sum(number)::bigint FROM namespace_counts
WHERE tenant = %(tenant)s::text
    AND (
        %(prefix)s::text IS NULL
        OR namespace = %(prefix)s::text
        OR (namespace >= %(prefix)s::text || '/' AND namespace < %(prefix)s::text || '0')
    )
GROUP BY namespace, kind
HAVING sum(number) > 0
"""

_DUE = f"""
SELECT
    count(*) FILTER (WHERE due.ends_at <= %(now)s::timestamptz),
    count(*) FILTER (WHERE due.ends_at <= %(now)s::timestamptz + interval '1 day'),
    count(*) FILTER (WHERE due.ends_at <= %(now)s::timestamptz + interval '7 days'),
    count(*) FILTER (WHERE due.ends_at <= %(now)s::timestamptz + interval '30 days')
FROM {REACHED}
CROSS JOIN LATERAL (
    SELECT greatest(updated_at + (%(now)s::timestamptz - reached.cutoff), place.ends_from) AS ends_at
    FROM memories
    WHERE tenant = place.tenant
        AND NOT deleted
        AND namespace = place.namespace
        AND kind = place.kind
        AND importance_hundredths = counted.hundredths
        AND updated_at <= reached.cutoff + interval '30 days'
        AND expires_at IS NULL
    OFFSET 0
) AS due
"""  # noqa: S608  # put together from constants, as the next one is

_FIRST = f"""
SELECT due.memory_id, place.namespace, due.key, place.kind, due.beginning, due.updated_at, due.ends_at
FROM {REACHED}
CROSS JOIN LATERAL (
    SELECT
        memory_id, key, left(text, 120) AS beginning, updated_at,
        greatest(updated_at + (%(now)s::timestamptz - reached.cutoff), place.ends_from) AS ends_at
    FROM memories
    WHERE tenant = place.tenant
        AND NOT deleted
        AND namespace = place.namespace
        AND kind = place.kind
        AND importance_hundredths = counted.hundredths
        AND expires_at IS NULL
    ORDER BY updated_at
    LIMIT %(most)s::integer
) AS due
ORDER BY due.ends_at, due.updated_at, due.memory_id
LIMIT %(most)s::integer
"""  # noqa: S608

# As the sweeper chooses.
_LEAST = """
SELECT
    least.memory_id, crowded.place, least.key, least.kind, least.beginning, least.updated_at, least.importance
FROM unnest(%(places)s::text[], %(numbers)s::bigint[]) AS crowded (place, number)
CROSS JOIN LATERAL (
    SELECT memory_id, key, kind, left(text, 120) AS beginning, updated_at, importance FROM memories
    WHERE tenant = %(tenant)s::text AND NOT deleted AND namespace = crowded.place
    ORDER BY importance, updated_at, memory_id
    LIMIT least(crowded.number, %(most)s::bigint)
) AS least
ORDER BY least.importance, least.updated_at, least.memory_id
LIMIT %(most)s::bigint
"""

_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class SaidOfPolicy:
    """What a policy says."""

    rules: Sequence[RetentionRule] = ()
    cap: SizeCap | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in force.

    Attributes:
        namespace: With all below it; None is the whole tenant.
    """

    namespace: str | None
    rules: Sequence[RetentionRule]
    cap: SizeCap | None
    actor: str
    set_at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What a policy would end.

    Attributes:
        due: Memories that would be gone now, within a day, within 7 days and within 30.
        samples: Those that would go first, as `soma_api.models.retention_models.EndingMemory` has them.
        above_cap: Memories above the cap of their namespace.
        least: Those of them that would go first, as `SurplusMemory` there.
    """

    due: tuple[int, int, int, int]
    samples: Sequence[Mapping[str, Any]]
    above_cap: int
    least: Sequence[Mapping[str, Any]]


class PolicyQueries:
    """Questions about retention policies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(self, tenant: str) -> list[Policy]:
        """Return the policies in force of a tenant, in the order of their namespaces.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        rows = await self._database.rows(tenant, _IN_FORCE, {}, prepare=True)
        return [
            Policy(
                namespace,
                list(map(RetentionRule.model_validate, rules)),
                None if cap is None else SizeCap.model_validate(cap),
                actor,
                set_at,
            )
            for namespace, rules, cap, actor, set_at in rows
        ]

    async def in_force(self, tenant: str) -> TenantPolicies:
        """Return the same as rules that decide.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        return _deciding(await self.listed(tenant))

    async def settled(self, topic: str, epoch: int, position: Position) -> bool:
        """Say whether the sink of policies has settled a position.

        Args:
            topic: Full name of `memory.policies` in this installation.
            epoch: Of the topics.
            position: In it.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {
            "group": SinkGroup.POLICIES.value,
            "topic": topic,
            "partition": position.partition,
            "epoch": epoch,
            "offset": position.offset,
        }
        return bool(await self._database.rows_without_tenant(_SETTLED, values))

    async def plan(self, tenant: str, namespace: str | None, said: SaidOfPolicy, now: datetime) -> Plan:
        """Return what a policy would end if it were set, beside the others in force.

        Args:
            tenant: Whose.
            namespace: The policy's; None is the whole tenant.
            said: By the policy; nothing: what lifting it would end, by the policies that decide then.
            now: The time by which it would be set.

        Raises:
            StoreUnavailableError: The database does not answer, or not in time.
        """
        listed = await self.listed(tenant)
        before = _deciding(listed)
        others = [policy for policy in listed if policy.namespace != namespace]
        after = _deciding([*others, Policy(namespace, said.rules, said.cap, "", now)])
        reached: list[RuledPlace] = []
        sizes: Counter[str] = Counter()
        for place, kind, number in await self._database.rows(
            tenant, _PLACES, {"prefix": namespace}, prepare=False
        ):
            sizes[place] += number
            decides = after.rule_for(place, Kind(kind))
            if decides is not None and decides != before.rule_for(place, Kind(kind)):
                reached.append(RuledPlace(tenant, place, Kind(kind), decides, decides.limits(now)))
        values = reached_by(reached, now) | {"most": _SAMPLES}
        ((*due,),) = await self._database.rows(tenant, _DUE, values, prepare=False)
        first = await self._database.rows(tenant, _FIRST, values, prepare=False)
        names = ("memory_id", "namespace", "key", "kind", "text", "updated_at", "ends_at")
        above = {
            place: size - cap.max_memories
            for place, size in sizes.items()
            if (cap := after.cap_for(place)) is not None and cap is not before.cap_for(place)
        }
        crowded = {place: number for place, number in above.items() if number > 0}
        values = {"places": list(crowded), "numbers": list(crowded.values()), "most": _SAMPLES}
        least = await self._database.rows(tenant, _LEAST, values, prepare=False)
        return Plan(
            tuple(due),
            [dict(zip(names, row, strict=True)) for row in first],
            above_cap=sum(crowded.values()),
            least=[dict(zip((*names[:-1], "importance"), row, strict=True)) for row in least],
        )


def _deciding(listed: Sequence[Policy]) -> TenantPolicies:
    return TenantPolicies(
        {policy.namespace: policy.rules for policy in listed},
        {policy.namespace: policy.cap for policy in listed if policy.cap is not None},
        {policy.namespace: policy.set_at for policy in listed},
    )
