"""Namespaces with the rules that decide about them, and the SQL that asks what has ended there.

Nothing is read that does not end: of each importance in a place the memories that changed longest ago are the
beginning of a range of an index.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from soma_schemas.fields import Kind
from soma_schemas.retention import Limits, RuleInForce, as_columns


class RuledPlace(NamedTuple):
    """Memories of one kind in one namespace, and the rule that decides about them.

    Attributes:
        limits: How long the rule keeps them.
    """

    tenant: str
    namespace: str
    kind: Kind
    decides: RuleInForce
    limits: Limits


REACHED: LiteralString = """
unnest(
    %(tenants)s::text[], %(namespaces)s::text[], %(kinds)s::text[], %(cutoffs)s::timestamptz[],
    %(half_lives)s::bigint[], %(floors)s::float8[], %(shortest)s::bigint[], %(notices)s::bigint[],
    %(ends_from)s::timestamptz[]
) AS place (tenant, namespace, kind, cutoff, half_life, lowest, shortest, notice, ends_from)
CROSS JOIN LATERAL
    public.soma_importances(place.tenant, place.namespace, place.kind) AS counted (hundredths)
CROSS JOIN LATERAL (
    SELECT public.soma_cutoff(
        %(now)s::timestamptz, place.cutoff, place.half_life, place.lowest, place.shortest, counted.hundredths
    ) AS cutoff
) AS reached
"""
"""What follows FROM: each `place`, the importances `counted` there, and the cutoff that is `reached`.

Its parameters are those of `reached_by`.
"""


def reached_by(places: Sequence[RuledPlace], now: datetime) -> dict[str, Any]:
    """Return the parameters of `REACHED`.

    Args:
        places: What it goes through.
        now: The time by which memories have ended.
    """
    return {
        "now": now,
        "tenants": [place.tenant for place in places],
        "namespaces": [place.namespace for place in places],
        "kinds": [place.kind.value for place in places],
        "notices": [place.decides.rule.notice_seconds for place in places],
        "ends_from": [place.decides.ends_from for place in places],
        **as_columns([place.limits for place in places]),
    }
