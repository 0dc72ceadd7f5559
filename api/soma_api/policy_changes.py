"""Sets and lifts retention policies: by publishing, and by waiting until the sink has settled it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from soma_api.policies_in_force import PoliciesInForce
from soma_api.principals import Principal
from soma_api.publishing import EventLog
from soma_api.queries.audit_log_queries import AuditLogQueries
from soma_api.queries.policy_queries import PolicyQueries, SaidOfPolicy
from soma_schemas.clock import Clock
from soma_schemas.events import RetentionPolicySet
from soma_schemas.producer import Tombstone
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_POLICIES
from soma_schemas.versions import Position

_LOOK_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class PolicyChanges:
    """Changes policies on behalf of requests.

    Attributes:
        log: Takes them.
        audit_log: Has who lifts a policy: the log's tombstone names nobody.
        queries: Tells how far their sink is.
        policies: In the memory of this process.
        clock: Paces the looking.
        topics: Of this installation.
    """

    log: EventLog
    audit_log: AuditLogQueries
    queries: PolicyQueries
    policies: PoliciesInForce
    clock: Clock
    topics: TopicSettings

    async def publish(
        self,
        principal: Principal,
        event_id: UUID,
        namespace: str | None,
        said: SaidOfPolicy,
        now: datetime,
        *,
        request_id: str,
    ) -> Position:
        """Publish a policy, or where nothing is said its end, and return where it lies.

        Raises:
            LogUnavailableError: The log did not acknowledge it.
            StoreUnavailableError: That it is lifted cannot be put on record.
        """
        tenant = principal.tenant
        record: RetentionPolicySet | Tombstone
        if said.rules or said.cap is not None:
            record = RetentionPolicySet.validated(
                {
                    "event_id": event_id,
                    "tenant": tenant,
                    "occurred_at": now,
                    "actor": principal.actor,
                    "namespace": namespace,
                    "rules": [rule.model_dump() for rule in said.rules],
                    "cap": None if said.cap is None else said.cap.model_dump(),
                }
            )
        else:
            await self.audit_log.add(
                tenant,
                actor=principal.actor,
                action="retention_policy.lift",
                subject=namespace,
                request_id=request_id,
            )
            record = Tombstone(event_id, RetentionPolicySet.key_of(tenant, namespace))
        (position,) = await self.log.send([record], MEMORY_POLICIES, event_id)
        return position

    async def in_force(self, tenant: str, position: Position, seconds: float) -> bool:
        """Wait until a change is in force, for this process too, and say whether it is.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        topic, epoch = MEMORY_POLICIES.full_name(self.topics), position.epoch
        until = self.clock.monotonic() + seconds
        while not await self.queries.settled(topic, epoch, position):
            if self.clock.monotonic() >= until:
                return False
            await self.clock.sleep(_LOOK_SECONDS)
        self.policies.forget(tenant)
        return True
