"""The conditions under which a point is no memory that an open erasure selects."""

from collections.abc import Sequence
from uuid import UUID

from soma_api.queries.erasure_selection import ErasureSelection
from soma_api.queries.vectors.conditions import Condition, IsPoint, Not, OneOf
from soma_schemas.events import ErasureScope
from soma_schemas.vectors import payload
from soma_schemas.vectors.points import point_id


def unerased(tenant: str, erasures: Sequence[ErasureSelection]) -> list[Condition]:
    """Return what a point must meet, all of it.

    No engine computes a digest: of an erasure that is known by one alone there is no condition, and the
    points themselves are to be looked at.

    Args:
        tenant: Whose erasures they are.
        erasures: What each selects.
    """
    return [Not([_selected(tenant, each.scope, each.selector or "")]) for each in erasures if each.is_named]


def _selected(tenant: str, scope: ErasureScope, selector: str) -> Condition:
    match scope:
        case ErasureScope.SUBJECT:
            return OneOf([payload.equal_label("subject", selector)])
        case ErasureScope.MEMORY:
            return IsPoint([point_id(tenant, UUID(selector))])
        case ErasureScope.NAMESPACE:
            return OneOf([payload.prefix_label(tenant, selector)])
        case ErasureScope.TENANT:
            return OneOf([payload.tenant_label(tenant)])
