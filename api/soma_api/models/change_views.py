"""The functions that write the messages of the stream of changes."""

from typing import Any

import orjson

from soma_api.change_feed import Place
from soma_api.models.responses import memory_view
from soma_api.problems import ApiError, problem_of
from soma_api.queries.change_queries import AppliedChange
from soma_api.queries.memory_queries import Memory
from soma_schemas.retention import TenantPolicies


def change_message(change: AppliedChange, memory: Memory | None, policies: TenantPolicies) -> bytes:
    """Return a change as a message of `text/event-stream`, with `AppliedChangeView` as its data.

    The format is that of the HTML standard, section 9.2.5, "Parsing an event stream".

    Args:
        change: The change.
        memory: What is shown of the memory, if anything.
        policies: In force for its tenant.
    """
    data = {
        "event_type": change.event_type,
        "memory_id": change.memory_id,
        "namespace": change.namespace,
        "version": change.version,
        "position": str(change.position),
        "event_id": change.event_id,
        "actor": change.actor,
        "logged_at": change.logged_at,
        "memory": None if memory is None else memory_view(memory, policies),
    }
    return b"event: change\ndata: " + _json(data) + b"\n\n"


def place_message(place: Place) -> bytes:
    """Return the message that has clients remember a place, and tells them nothing."""
    return f"id: {place}\n\n".encode()


def end_message(error: ApiError, request_id: str) -> bytes:
    """Return the last message of a stream that cannot go on: the problem that a request would get."""
    return b"event: end\ndata: " + _json(problem_of(error, request_id)) + b"\n\n"


def _json(data: Any) -> bytes:
    # JSON has no line break outside of strings, and escapes those in them.
    return orjson.dumps(data, option=orjson.OPT_UTC_Z)
