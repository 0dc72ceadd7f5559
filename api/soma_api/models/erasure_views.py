"""Requests about erasures, and the function that shows them."""

import json
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from soma_api.models.query_parameters import DEFAULT_PAGE_SIZE, PageSize
from soma_api.queries.erasure_queries import StoredErasure
from soma_schemas.events import ErasureScope
from soma_schemas.fields import Name, Namespace, Tenant, broken
from soma_schemas.violations import ViolationCode


class RequestErasure(BaseModel):
    """What is to be gone: exactly one of these."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"subject": "customer-1842"}]}
    )

    subject: Name | None = Field(
        None, description="All memories about this person, and what they said before."
    )
    memory_id: UUID | None = Field(None, description="One memory with its history, whether or not it lives.")
    namespace: Namespace | None = Field(None, description="This namespace and all below it.")
    tenant: Tenant | None = Field(None, description="Everything: the name of the key's own tenant.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set & {name for name in _SCOPES if getattr(self, name) is not None}) != 1:
            raise broken(ViolationCode.INVALID_VALUE, "exactly one of subject, memory_id, namespace, tenant")
        return self

    def selected(self) -> tuple[ErasureScope, str | None]:
        """Return scope and selector."""
        name, value = next((name, value) for name in _SCOPES if (value := getattr(self, name)) is not None)
        scope = _SCOPES[name]
        return scope, None if scope is ErasureScope.TENANT else str(value)


_SCOPES = {
    "subject": ErasureScope.SUBJECT,
    "memory_id": ErasureScope.MEMORY,
    "namespace": ErasureScope.NAMESPACE,
    "tenant": ErasureScope.TENANT,
}


class ErasureQuery(BaseModel):
    """Page of a list of erasures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: PageSize = Field(DEFAULT_PAGE_SIZE, description="Erasures on a page.")
    cursor: str | None = Field(None, max_length=1024, description="`next_cursor` of the page before.")


def erasure_view(erasure: StoredErasure) -> dict[str, Any]:
    """Return an erasure as `ErasureView` describes it."""
    view = erasure._asdict()
    del view["selector_sha256"]
    view["requested_by"] = view.pop("actor")
    complete = erasure.completed_at is not None and erasure.receipt is not None
    view["receipt"] = json.loads(erasure.receipt) if complete and erasure.receipt is not None else None
    return view
