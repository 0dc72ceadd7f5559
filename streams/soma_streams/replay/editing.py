"""The event of a dead letter while it is edited: JSON of what could be read, and the event made of it."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from soma_schemas.errors import SomaError
from soma_schemas.events import SINK_EVENTS, MemoryEvent, MemoryStored
from soma_schemas.fields import Kind
from soma_schemas.identity import identified, new_id
from soma_schemas.json_text import JsonError, read_json
from soma_schemas.limits import Limits
from soma_streams.replay.rendering import Content
from soma_streams.replay.stored_dead_letters import StoredDeadLetter

_MODELS = {model.__name__: model for model in SINK_EVENTS}
_RECORD = "record"


class DraftError(SomaError):
    """The text is no event."""

    code = "draft"


def draft_of(dead_letter: StoredDeadLetter, content: Content) -> str:
    """Return what is opened in the editor.

    The event keeps what could be read of it. Where nothing could, it begins as an empty MemoryStored of the
    memory that the key of the dead letter names. The event's id is left out: a changed event is another.
    """
    known = dict(content.fields or {})
    record = content.record if content.record in _MODELS else MemoryStored.__name__
    known.pop("event_id", None)
    begun = {_RECORD: record, **_empty(record, dead_letter)}
    return json.dumps(begun | known, ensure_ascii=False, indent=2) + "\n"


def event_of(
    text: str, dead_letter: StoredDeadLetter, content: Content, now: datetime, limits: Limits
) -> MemoryEvent:
    """Return the new event that an edited text makes.

    It has an id of its own: under the old one, a sink that knows that event would take it for a repetition.
    With a key or a coordinate its memory_id is worked out; the tenant has to stay.

    Args:
        text: As `draft_of` made it, edited.
        dead_letter: That it was made from.
        content: Likewise.
        now: Goes into the new id.
        limits: Of this installation.

    Raises:
        DraftError: It is no JSON object, names no record of ours, or another tenant.
        ContractError: The event breaks the contract.
    """
    fields = _object(text)
    record = fields.pop(_RECORD, None)
    model = _MODELS.get(record) if isinstance(record, str) else None
    if model is None:
        raise DraftError(f"`record` is none of {', '.join(_MODELS)}")
    _require_same_tenant(fields.get("tenant"), dead_letter, content)
    if isinstance(fields.get("payload"), dict):
        fields["payload"] = json.dumps(fields["payload"], ensure_ascii=False)
    if model is MemoryStored and (named := _identified(fields)) is not None:
        fields["memory_id"] = named
    return model.validated({**fields, "event_id": new_id(now)}, limits)


def _empty(record: str, dead_letter: StoredDeadLetter) -> dict[str, Any]:
    if record != MemoryStored.__name__:
        return {}
    begun = dict.fromkeys(MemoryStored.model_fields) | {
        "tenant": dead_letter.tenant,
        "namespace": "",
        "memory_id": None if dead_letter.memory_id is None else str(dead_letter.memory_id),
        "occurred_at": None if dead_letter.logged_at is None else dead_letter.logged_at.isoformat(),
        "actor": "operator",
        "kind": Kind.EPISODIC.value,
        "text": "",
        "payload": {},
        "tags": [],
        "importance": 0.5,
    }
    del begun["event_id"]
    return begun


def _object(text: str) -> dict[str, Any]:
    try:
        fields = read_json(text).value
    except JsonError as error:
        cause = error.__cause__
        place = f": line {cause.lineno}: {cause.msg}" if isinstance(cause, json.JSONDecodeError) else ""
        raise DraftError(f"the text {error}{place}") from None
    if not isinstance(fields, dict):
        raise DraftError("the text is no JSON object")
    return fields


def _require_same_tenant(tenant: object, dead_letter: StoredDeadLetter, content: Content) -> None:
    # What belongs to one tenant must not be handed to another by a slip.
    said = (content.fields or {}).get("tenant")
    allowed = {each for each in (dead_letter.tenant, said) if each is not None}
    if allowed and tenant not in allowed:
        raise DraftError(f"the event belongs to tenant {' or '.join(sorted(map(str, allowed)))}")


def _identified(fields: Mapping[str, Any]) -> UUID | None:
    match fields:
        case {"key": str(), "coordinate": coordinate} if coordinate is not None:
            return None  # it cannot have both, which validation tells
        case {"tenant": str(tenant), "namespace": str(namespace), "key": str(key)}:
            return identified(tenant, namespace, key, None)
        case {"tenant": str(tenant), "namespace": str(namespace), "coordinate": list(numbers)}:
            return identified(tenant, namespace, None, numbers)
        case _:
            return None
