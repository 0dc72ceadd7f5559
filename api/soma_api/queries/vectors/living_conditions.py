"""The conditions of a search that leave out what has ended: pure, and as few as say it.

An engine compares fields with values and computes nothing. So what a decay has ended before the rest of its
rule would is not left out here: `soma_api.queries.vectors.hybrid_search` drops that from the candidates.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from soma_api.queries.vectors.conditions import Condition, InRange, Not, OneOf, Place
from soma_schemas.fields import Kind
from soma_schemas.moments import micros
from soma_schemas.retention import TenantPolicies
from soma_schemas.vectors import payload


class _Ended(NamedTuple):
    """Memories that some policies have ended, where they have no deadline of their own.

    Attributes:
        cutoff: Of their last change.
        kinds: Theirs.
        inside: Namespaces in or below which they lie; none: wherever is searched.
        outside: Namespaces in or below which they do not lie.
    """

    cutoff: datetime
    kinds: tuple[Kind, ...]
    inside: tuple[str, ...]
    outside: tuple[str, ...]


def living(tenant: str, policies: TenantPolicies, places: Sequence[Place], now: datetime) -> list[Condition]:
    """Return the conditions that a point meets which has not ended.

    Args:
        tenant: Whose points.
        policies: In force there.
        places: Where is searched: what concerns none of them is left out.
        now: The time by which it has ended.
    """
    moment = float(micros(now))
    return [
        Not([InRange(payload.EXPIRES_AT, at_most=moment)]),
        *(Not(list(_met_by(tenant, ended, moment))) for ended in _ended(policies, places, now)),
    ]


def _met_by(tenant: str, ended: _Ended, moment: float) -> Iterator[Condition]:
    yield InRange(payload.UPDATED_AT, at_most=float(micros(ended.cutoff)))
    if ended.inside:
        yield OneOf([payload.prefix_label(tenant, each) for each in ended.inside])
    if ended.outside:
        yield Not([OneOf([payload.prefix_label(tenant, each) for each in ended.outside])])
    if len(ended.kinds) < len(Kind):
        yield OneOf([payload.equal_label("kind", each) for each in ended.kinds])
    # Those whose own deadline is over are left out anyway; a later one goes before every policy.
    yield Not([InRange(payload.EXPIRES_AT, above=moment)])


def _ended(policies: TenantPolicies, places: Sequence[Place], now: datetime) -> list[_Ended]:
    """Return what policies have ended, with what is ended alike in one."""
    kinds: dict[tuple[datetime, tuple[str, ...], tuple[str, ...]], list[Kind]] = defaultdict(list)
    for reach in policies.reaches():
        cutoff = reach.decides.ended(now).cutoff
        if cutoff is None or not any(
            place.meets(reach.namespace) and not any(map(place.lies_in, reach.except_below))
            for place in places
        ):
            continue
        everywhere = all(place.lies_in(reach.namespace) for place in places)
        inside: tuple[str, ...] = ()
        if reach.namespace is not None and not everywhere:
            inside = (reach.namespace,)
        outside = tuple(each for each in reach.except_below if any(place.meets(each) for place in places))
        kinds[cutoff, inside, outside].append(reach.kind)
    alike: dict[tuple[datetime, tuple[Kind, ...]], list[str]] = defaultdict(list)
    found = []
    for (cutoff, inside, outside), some in kinds.items():
        if inside and not outside:
            alike[cutoff, tuple(some)] += inside
        else:
            found.append(_Ended(cutoff, tuple(some), inside, outside))
    return found + [_Ended(cutoff, some, tuple(inside), ()) for (cutoff, some), inside in alike.items()]
