"""What an open erasure selects, also where only the digest tells who or what was erased."""

from typing import NamedTuple
from uuid import UUID

from soma_schemas.erasure_receipts import selector_digest
from soma_schemas.events import ErasureScope
from soma_schemas.namespaces import ancestors


class ErasureSelection(NamedTuple):
    """The memories that an open erasure of a tenant selects.

    Attributes:
        request_id: The erasure.
        scope: Of what the selector is.
        selector: None for a whole tenant, and where no table says who or what was erased: after a restore.
        selector_sha256: As in the receipt; None for a whole tenant.
    """

    request_id: UUID
    scope: ErasureScope
    selector: str | None
    selector_sha256: str | None

    @property
    def is_named(self) -> bool:
        """Say whether it is known who or what it selects, so that a condition can say so."""
        return self.selector is not None or self.scope is ErasureScope.TENANT

    def selects(self, memory_id: UUID, namespace: str, subject: str | None) -> bool:
        """Say whether it selects a memory of its tenant."""
        match self.scope:
            case ErasureScope.SUBJECT:
                return subject is not None and self._is(subject)
            case ErasureScope.MEMORY:
                return self._is(str(memory_id))
            case ErasureScope.NAMESPACE:
                return any(map(self._is, ancestors(namespace)))
            case ErasureScope.TENANT:
                return True

    def _is(self, candidate: str) -> bool:
        if self.selector is not None:
            return candidate == self.selector
        return selector_digest(self.request_id, candidate) == self.selector_sha256
