"""Queries about the audit log, and the function that shows it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from soma_api.models.query_parameters import DEFAULT_PAGE_SIZE, PageSize
from soma_api.queries.audit_log_queries import AuditEntry
from soma_schemas.fields import StorableString


class AuditLogQuery(BaseModel):
    """Page and filter of the audit log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: StorableString | None = Field(None, max_length=128, description="Only acts of this kind.")
    subject: StorableString | None = Field(None, max_length=4096, description="Only acts on this.")
    limit: PageSize = Field(DEFAULT_PAGE_SIZE, description="Acts on a page.")
    cursor: str | None = Field(None, max_length=1024, description="`next_cursor` of the page before.")


def audit_entry_view(entry: AuditEntry) -> dict[str, Any]:
    """Return an act as the API shows it: without its number, which would count the acts of others."""
    return {name: value for name, value in entry._asdict().items() if name != "id"}
