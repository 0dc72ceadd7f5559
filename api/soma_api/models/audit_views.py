"""The audit log as the API shows it."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from soma_api.models.query_parameters import DEFAULT_PAGE_SIZE, PageSize
from soma_api.queries.audit_log_queries import AuditEntry
from soma_schemas.fields import StorableString

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


class AuditLogQuery(BaseModel):
    """Page and filter of the audit log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: StorableString | None = Field(None, max_length=128, description="Only acts of this kind.")
    subject: StorableString | None = Field(None, max_length=4096, description="Only acts on this.")
    limit: PageSize = Field(DEFAULT_PAGE_SIZE, description="Acts on a page.")
    cursor: str | None = Field(None, max_length=1024, description="`next_cursor` of the page before.")


class AuditLogPage(BaseModel):
    """Some acts, newest first, and where the list goes on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"entries": [_AN_ENTRY], "next_cursor": None}]})

    entries: list[AuditEntryView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")


def audit_entry_view(entry: AuditEntry) -> dict[str, Any]:
    """Return an act as the API shows it: without its number, which would count the acts of others."""
    return {name: value for name, value in entry._asdict().items() if name != "id"}
