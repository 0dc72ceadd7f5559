"""The functions that write answers as `soma_schemas.responses` describes them."""

from typing import Any

import orjson
from starlette.responses import Response

from soma_api.models.json_numbers import with_one_spelling
from soma_api.queries.link_queries import Link
from soma_api.queries.memory_queries import Memory
from soma_schemas.memories import FIELDS, MemoryView
from soma_schemas.retention import TenantPolicies

_OPTIONS = orjson.OPT_UTC_Z
_SHOWN = tuple(name for name in MemoryView.model_fields if name in FIELDS)


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer in JSON."""
    body = orjson.dumps(content, option=_OPTIONS)
    return Response(body, status, headers=headers, media_type="application/json")


def link_view(link: Link) -> dict[str, Any]:
    """Return a link as `LinkView` describes it."""
    return link._asdict()


def memory_view(memory: Memory, policies: TenantPolicies, *, embeddings: bool = False) -> dict[str, Any]:
    """Return a memory as `MemoryView` describes it. The payload goes through as text.

    Args:
        memory: The memory.
        policies: In force for its tenant.
        embeddings: Whether to show its own embedding.
    """
    view = {"memory_id": memory.memory_id, "version": memory.version} | {
        name: getattr(memory.content, name) for name in _SHOWN
    }
    deadline = policies.deadline_of(memory.content)
    view["ends_at"] = None if deadline is None else deadline.at
    view["payload"] = orjson.Fragment(with_one_spelling(memory.content.payload))
    if not embeddings:
        del view["embedding"]
    return view
