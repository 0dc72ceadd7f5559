"""The conditions under which a point is no memory that an open erasure selects."""

from collections.abc import Sequence
from uuid import UUID

from soma_api.queries.vectors.conditions import Condition, IsPoint, Not, OneOf
from soma_schemas.events import ErasureScope
from soma_schemas.vectors import payload
from soma_schemas.vectors.points import point_id


def unerased(tenant: str, erasures: Sequence[tuple[ErasureScope, str | None]]) -> list[Condition]:
    """Return what a point must meet, all of it.

    Args:
        tenant: Whose erasures they are.
        erasures: Scope and selector of each.
    """
    return [Not([_selected(tenant, scope, selector or "")]) for scope, selector in erasures]


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
