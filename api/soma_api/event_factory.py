"""Makes events of requests: pure, complete, and stamped with the tenant of the key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self, TypeVar
from uuid import UUID

from soma_api.headers import both_expected
from soma_api.identity import event_id_of_item, memory_id_of_event
from soma_api.models.requests import BatchItem, PatchMemory, PutLink, StoreMemory
from soma_api.principals import Principal
from soma_api.problems import FieldError, InvalidInputError, Source, TenantMismatchError, field_errors_of
from soma_schemas.events import (
    MemoryDeleted,
    MemoryEvent,
    MemoryLinked,
    MemoryPatched,
    MemoryStored,
    MemoryUnlinked,
)
from soma_schemas.limits import Limits
from soma_schemas.settings import EmbedderSettings
from soma_schemas.violations import ContractError, ViolationCode

EventT = TypeVar("EventT", bound=MemoryEvent)

_DERIVED = 5  # the version of ids that are made of a key or a coordinate


@dataclass(frozen=True)
class EventFactory:
    """Makes the events of one request.

    Attributes:
        principal: Who asks; their tenant is stamped on every event.
        event_id: Of the event, or what a batch's are made of.
        now: When it is asked.
        limits: Of this installation.
        embedder: Of this installation: an embedding of its model must have its size.
        expected: The version that a header expects, or None.
    """

    principal: Principal
    event_id: UUID
    now: datetime
    limits: Limits
    embedder: EmbedderSettings
    expected: int | None = None

    def expecting(self, version: int | None) -> Self:
        """Return a factory of events that apply to this version of a memory alone."""
        return replace(self, expected=version)

    def store(self, memory: StoreMemory, memory_id: UUID | None = None) -> MemoryStored:
        """Return the event that stores a memory.

        Args:
            memory: The body.
            memory_id: The id in the path, when there is one.

        Raises:
            InvalidInputError: The body breaks the contract.
            TenantMismatchError: It names another tenant.
            NamespaceForbiddenError: The key does not cover its namespace.
        """
        return self._stored(memory, memory_id, self.event_id, "")

    def store_all(self, memories: Sequence[BatchItem]) -> list[MemoryStored]:
        """Return the events that store a batch, in order: all of them, or none.

        Raises:
            InvalidInputError: Items break the contract; each is named by its index.
            TenantMismatchError: One names another tenant.
            NamespaceForbiddenError: The key does not cover the namespace of one.
        """
        events: list[MemoryStored] = []
        errors: list[FieldError] = []
        for index, memory in enumerate(memories):
            event_id = memory.event_id or event_id_of_item(self.event_id, index)
            try:
                events.append(self._stored(memory, None, event_id, f"/memories/{index}"))
            except InvalidInputError as error:
                errors.extend(error.errors)
        if errors:
            raise InvalidInputError("items of the batch break the contract; none was sent", errors=errors)
        return events

    def patch(self, change: PatchMemory, memory_id: UUID, namespace: str) -> MemoryPatched:
        """Return the event that makes a change.

        Raises:
            InvalidInputError: The body breaks the contract.
        """
        self._check_embedding(change.embedding, change.embedding_model, "")
        fields = change.fields(
            tenant=self.principal.tenant,
            namespace=namespace,
            event_id=self.event_id,
            memory_id=memory_id,
            now=self.now,
            actor=self.principal.actor,
            expected=both_expected(self.expected, change.expected_version),
        )
        return self._validated(MemoryPatched.validated, fields, "")

    def delete(self, memory_id: UUID, namespace: str) -> MemoryDeleted:
        """Return the event that ends a memory."""
        fields = self._common(memory_id, namespace) | {"expected_version": self.expected}
        return self._validated(MemoryDeleted.validated, fields, "")

    def link(self, link: PutLink, memory_id: UUID, to_memory_id: UUID, namespace: str) -> MemoryLinked:
        """Return the event that makes an edge.

        Raises:
            InvalidInputError: The body breaks the contract.
        """
        edge = {"to_memory_id": to_memory_id, "link_type": link.type, "weight": link.weight}
        return self._validated(MemoryLinked.validated, self._common(memory_id, namespace) | edge, "")

    def unlink(self, link_type: str, memory_id: UUID, to_memory_id: UUID, namespace: str) -> MemoryUnlinked:
        """Return the event that ends an edge.

        Raises:
            InvalidInputError: The type breaks the contract.
        """
        edge = {"to_memory_id": to_memory_id, "link_type": link_type}
        return self._validated(MemoryUnlinked.validated, self._common(memory_id, namespace) | edge, "")

    def check_tenant(self, claimed: str | None, under: str = "") -> None:
        """Return when a body names no tenant, or the key's own.

        Raises:
            TenantMismatchError: It names another.
        """
        if claimed is not None and claimed != self.principal.tenant:
            error = FieldError(
                source=Source.BODY,
                path=f"{under}/tenant",
                code=ViolationCode.INVALID_TENANT,
                message="is not the tenant of the key",
            )
            raise TenantMismatchError("the body names a tenant that is not the key's", errors=[error])

    def _stored(self, memory: StoreMemory, path_id: UUID | None, event_id: UUID, under: str) -> MemoryStored:
        self.check_tenant(memory.tenant, under)
        self.principal.require_access(memory.namespace)
        self._check_embedding(memory.embedding, memory.embedding_model, under)
        given = path_id or memory.memory_id
        if memory.memory_id is not None and given != memory.memory_id:
            raise _identity("is not the id in the path", under)
        named = memory.named(self.principal.tenant)
        if self.principal.namespaces is not None and given is not None and named is None:
            _refuse_derived(given, under)
        fields = memory.fields(
            tenant=self.principal.tenant,
            event_id=event_id,
            memory_id=given or named or memory_id_of_event(event_id),
            now=self.now,
            actor=self.principal.actor,
            expected=both_expected(self.expected, memory.expected_version),
        )
        return self._validated(MemoryStored.validated, fields, under)

    def _check_embedding(self, embedding: Sequence[float] | None, model: str | None, under: str) -> None:
        # The index would refuse it when the database already has it: readable, and never found by a search.
        # Vectors of other models are kept and not indexed, so any size is fine.
        if embedding is None or model != self.embedder.model or len(embedding) == self.embedder.dimensions:
            return
        message = (
            f"has {len(embedding)} numbers, those of `{self.embedder.model}` have {self.embedder.dimensions}"
        )
        error = FieldError(
            source=Source.BODY, path=f"{under}/embedding", code=ViolationCode.INVALID_VALUE, message=message
        )
        raise InvalidInputError("the embedding does not fit the index; nothing was sent", errors=[error])

    def _common(self, memory_id: UUID, namespace: str) -> dict[str, Any]:
        return {
            "event_id": self.event_id,
            "tenant": self.principal.tenant,
            "namespace": namespace,
            "memory_id": memory_id,
            "occurred_at": self.now,
            "actor": self.principal.actor,
        }

    def _validated(
        self, validate: Callable[[dict[str, Any], Limits], EventT], fields: dict[str, Any], under: str
    ) -> EventT:
        try:
            return validate(fields, self.limits)
        except ContractError as error:
            raise InvalidInputError(
                "the body breaks the contract; nothing was sent",
                errors=field_errors_of(error.violations, under=under),
            ) from None


def _refuse_derived(memory_id: UUID, under: str) -> None:
    # Such an id could be that of a key in a namespace that is not theirs, and would take its place.
    if memory_id.version == _DERIVED:
        raise _identity(
            "an id of version 5 is made of a key or a coordinate, and the body has neither", under
        )


def _identity(message: str, under: str) -> InvalidInputError:
    error = FieldError(
        source=Source.BODY, path=f"{under}/memory_id", code=ViolationCode.IDENTITY_MISMATCH, message=message
    )
    return InvalidInputError("the memory's id is not the one that it must have", errors=[error])
