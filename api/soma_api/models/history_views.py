"""The request to revert a memory, and the functions that show histories."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from pydantic import ConfigDict, Field

from soma_api.models.json_numbers import with_one_spelling
from soma_api.models.requests import Input
from soma_api.queries.history_queries import HistoryEvent
from soma_api.revisions import Change, Revision
from soma_schemas.responses.history_responses import HistoryEventView, RevisionMemory


class RevertMemory(Input):
    """To which version a memory is to go back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 1099511628818}]})

    version: int = Field(ge=1, lt=2**63, strict=True, description="As the history has it.")


def event_view(revision: Revision, *, told: bool) -> dict[str, Any]:
    """Return an event as `HistoryEventView` describes it.

    Args:
        revision: What it made.
        told: Whether what it changed may be seen.
    """
    event = revision.event
    shown = {name: getattr(event, name) for name in HistoryEventView.model_fields if name != "changes"}
    changes = revision.changes if told else None
    return shown | {"changes": None if changes is None else list(map(_change_view, changes))}


def revision_view(memory_id: UUID, event: HistoryEvent, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a memory was after an event as `RevisionView` describes it."""
    memory = {name: _shown(name, state.get(name)) for name in RevisionMemory.model_fields}
    return {
        "memory_id": memory_id,
        "version": event.version,
        "logged_at": event.logged_at,
        "actor": event.actor,
        "memory": memory,
    }


def _change_view(change: Change) -> dict[str, Any]:
    name, before, after = change
    return {"field": name, "before": _shown(name, before), "after": _shown(name, after)}


def _shown(name: str, value: Any) -> Any:
    # The payload goes through as text.
    return orjson.Fragment(with_one_spelling(value)) if name == "payload" and value is not None else value
