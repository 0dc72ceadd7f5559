"""The audit log over HTTP: administrative acts on a tenant, for its admins."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from soma_api.dependencies import AuditLog, AuditLogAdmin, PageCursors
from soma_api.models.audit_views import AuditLogQuery, audit_entry_view
from soma_api.models.responses import json_response
from soma_api.openapi import answers
from soma_api.problems import (
    InvalidCursorError,
    InvalidInputError,
    NamespaceForbiddenError,
    StoreUnavailableError,
)
from soma_schemas.responses.audit_responses import AuditLogPage

router = APIRouter(tags=["operation"])


@router.get(
    "/v1/audit",
    operation_id="list_audit_log",
    response_model=AuditLogPage,
    responses=answers(
        AuditLogPage,
        {},
        InvalidInputError,
        InvalidCursorError,
        NamespaceForbiddenError,
        StoreUnavailableError,
    ),
)
async def list_audit_log(
    *,
    principal: AuditLogAdmin,
    audit_log: AuditLog,
    cursors: PageCursors,
    query: Annotated[AuditLogQuery, Query()],
) -> Response:
    """List administrative acts on the tenant, newest first, in pages.

    Keys made, rotated, changed and revoked; policies of retention set and lifted; erasures requested; dead
    letters shown, replayed, edited, discarded and exported. Acts on the whole installation, such as
    migrations and backups, belong to no tenant: `soma audit --all` shows them.
    """
    belongs_to = {"audit_log": [query.action, query.subject]}
    before = None if query.cursor is None else cursors.read(query.cursor, principal.tenant, belongs_to)[0]
    found = await audit_log.page(
        principal.tenant, action=query.action, subject=query.subject, before=before, limit=query.limit + 1
    )
    page = found[: query.limit]
    next_cursor = None
    if len(found) > query.limit:
        next_cursor = cursors.make(principal.tenant, belongs_to, (page[-1].id,))
    return json_response({"entries": [audit_entry_view(each) for each in page], "next_cursor": next_cursor})
