"""Erasures as the API answers them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from soma_schemas.events import ErasureScope


class ErasureStateView(StrEnum):
    """How far an erasure is."""

    ACCEPTED = "accepted"
    DELETING = "deleting"
    CLEARING = "clearing"
    VERIFYING = "verifying"
    SIGNED = "signed"
    COMPLETED = "completed"


_AN_ERASURE: dict[str, Any] = {
    "request_id": "0198c5b0-6f1a-7c3e-9d42-1b2c3d4e5f60",
    "scope": "SUBJECT",
    "selector": "customer-1842",
    "state": "deleting",
    "waits_for": None,
    "requested_by": "key:k7Gf2q",
    "requested_at": "2026-03-02T09:00:00.123000Z",
    "accepted_at": "2026-03-02T09:00:00.171000Z",
    "completed_at": None,
    "memories": 3,
    "history_rows": 0,
    "links": 0,
    "dead_letters": 1,
    "outbox_rows": 0,
    "notices": 0,
    "data_keys": 1,
    "receipt": None,
}


class ErasureView(BaseModel):
    """An erasure. From its acceptance on no read and no search returns what it selects."""

    model_config = ConfigDict(json_schema_extra={"examples": [_AN_ERASURE]})

    request_id: UUID
    scope: ErasureScope
    selector: str | None = Field(
        description="Null for a tenant, and once it is complete: nobody is named then."
    )
    state: ErasureStateView = Field(description="The step that comes next, or that it is complete.")
    waits_for: str | None = Field(
        description="What keeps it from going on: `signing_key`, `sinks`, `dead_letters`, `publishers`, "
        "`key_log` or `vector_index`."
    )
    requested_by: str
    requested_at: datetime
    accepted_at: datetime = Field(description="What the log had received by then is reached.")
    completed_at: datetime | None
    memories: int = Field(description="That were deleted, as far as counted.")
    history_rows: int = Field(description="That lost what they said.")
    links: int
    dead_letters: int = Field(description="That nobody can show or replay any more.")
    outbox_rows: int
    notices: int
    data_keys: int = Field(description="Keys of encrypted events; what they encrypted is unreadable.")
    receipt: dict[str, Any] | None = Field(
        description="Signed; `soma erase verify` checks it without this service. Null before it is complete."
    )


class ErasurePage(BaseModel):
    """Some erasures, newest first, and where the list goes on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"erasures": [_AN_ERASURE], "next_cursor": None}]}
    )

    erasures: list[ErasureView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")
