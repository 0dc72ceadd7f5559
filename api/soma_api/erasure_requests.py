"""Publishes requests for erasure, and waits until they are accepted."""

from dataclasses import dataclass
from uuid import UUID

from soma_api.models.erasure_views import RequestErasure
from soma_api.principals import Principal
from soma_api.problems import (
    ErasureConflictError,
    FieldError,
    InvalidInputError,
    NotYetVisibleError,
    Source,
    TenantMismatchError,
    field_errors_of,
)
from soma_api.publishing import EventLog
from soma_api.queries.erasure_queries import ErasureQueries, StoredErasure
from soma_schemas.clock import Clock
from soma_schemas.erasure_receipts import selector_digest
from soma_schemas.events import ErasureRequested
from soma_schemas.identity import new_id
from soma_schemas.limits import Limits
from soma_schemas.topics import MEMORY_ERASURES
from soma_schemas.violations import ContractError, ViolationCode

_LOOK_AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class ErasureRequesting:
    """Asks for erasures.

    Args:
        log: Publishes.
        erasures: Tells what is accepted.
        clock: Time.
        limits: Of this installation.
        wait_seconds: How long a request may wait until it is accepted.
        replica_seconds: After which no read replica answers that has not heard of it.
    """

    log: EventLog
    erasures: ErasureQueries
    clock: Clock
    limits: Limits
    wait_seconds: float
    replica_seconds: float

    async def accept(
        self, principal: Principal, wanted: RequestErasure, idempotency_key: UUID | None
    ) -> StoredErasure:
        """Return the request once readers see nothing any more of what it selects.

        Args:
            principal: Who asks; the tenant is theirs.
            wanted: What is to be gone.
            idempotency_key: Names the request; the same one again returns the first.

        Raises:
            InvalidInputError: The selector breaks a limit.
            TenantMismatchError: It names another tenant.
            ErasureConflictError: The key was used for another request.
            LogUnavailableError: The log does not acknowledge it.
            NotYetVisibleError: The log has it, and nobody has accepted it yet.
            StoreUnavailableError: The database does not answer.
        """
        scope, selector = wanted.selected()
        if wanted.tenant is not None and wanted.tenant != principal.tenant:
            error = FieldError(
                source=Source.BODY,
                path="/tenant",
                code=ViolationCode.INVALID_TENANT,
                message="is not the tenant of the key",
            )
            raise TenantMismatchError("the body names a tenant that is not the key's", errors=[error])
        request_id = idempotency_key or new_id(self.clock.now())
        digest = selector_digest(request_id, selector)
        fields = {
            "event_id": request_id,
            "tenant": principal.tenant,
            "occurred_at": self.clock.now(),
            "actor": principal.actor,
            "request_id": request_id,
            "scope": scope,
            "selector": selector,
        }
        try:
            request = ErasureRequested.validated(fields, self.limits)
        except ContractError as error:
            raise InvalidInputError(
                "the body breaks the contract; nothing was sent", errors=field_errors_of(error.violations)
            ) from None
        found = await self.erasures.get(principal.tenant, request_id)
        if found is None:
            await self.log.send([request], MEMORY_ERASURES, request_id)
            found = await self._accepted(principal.tenant, request_id)
        if (found.scope, found.selector_sha256) != (scope.value, digest):
            raise ErasureConflictError("another erasure was requested with this `Idempotency-Key`")
        await self.clock.sleep(self.replica_seconds)
        return found

    async def _accepted(self, tenant: str, request_id: UUID) -> StoredErasure:
        began = self.clock.monotonic()
        while (found := await self.erasures.get(tenant, request_id)) is None:
            if self.clock.monotonic() - began > self.wait_seconds:
                raise NotYetVisibleError(
                    "the log has the request, and the retention worker has not accepted it yet",
                    remedy=f"Send it again with `Idempotency-Key: {request_id}`; "
                    "`soma work retention` has to run.",
                )
            await self.clock.sleep(_LOOK_AGAIN_SECONDS)
        return found
