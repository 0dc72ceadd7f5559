"""The audit log as the API answers it."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_AN_ENTRY: dict[str, Any] = {
    "happened_at": "2026-03-02T12:00:00Z",
    "actor": "login:soma_owner",
    "action": "api_key.rotate",
    "subject": "0123456789abcdef",
    "details": {"former_expires_at": "2026-03-03T12:00:00Z"},
    "request_id": None,
}


class AuditEntryView(BaseModel):
    """One administrative act. It never holds content or secrets."""

    model_config = ConfigDict(json_schema_extra={"examples": [_AN_ENTRY]})

    happened_at: datetime = Field(description="When it was put on record.")
    actor: str = Field(
        description="Who: `key:ID` of an API key, `login:NAME` of the database, or what a command was told."
    )
    action: str = Field(description="What, such as `api_key.rotate`.")
    subject: str | None = Field(
        description="To what: the id of a key, a dead letter or an erasure, or a namespace. Null: the tenant."
    )
    details: dict[str, Any] = Field(description="What was allowed or set.")
    request_id: str | None = Field(description="Of the request that did it; null where none did.")


class AuditLogPage(BaseModel):
    """Some acts, newest first, and where the list goes on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"entries": [_AN_ENTRY], "next_cursor": None}]})

    entries: list[AuditEntryView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")
