"""The FastAPI dependencies of the routes: the principal, the headers, and the services.

FastAPI solves the whole tree below a dependency each time that it occurs, so these are flat.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Self, TypeVar

from fastapi import Depends, Header, Query, Request

from soma_api import headers
from soma_api.accesses import Accesses
from soma_api.change_feed import ChangeFeed
from soma_api.client_addresses import client_network
from soma_api.consistency import PositionWait, ReadConsistency
from soma_api.cursors import Cursors
from soma_api.erasure_requests import ErasureRequesting
from soma_api.event_factory import EventFactory
from soma_api.followed_index import Searcher
from soma_api.freshness import LogEnds
from soma_api.injection import services_of
from soma_api.middleware import answer_with
from soma_api.namespace_access import NamespaceAccess
from soma_api.open_erasures import OpenErasures
from soma_api.policies_in_force import PoliciesInForce
from soma_api.policy_changes import PolicyChanges
from soma_api.principals import Principal
from soma_api.problems import ConditionUnsupportedError, NamespaceForbiddenError
from soma_api.queries.audit_log_queries import AuditLogQueries
from soma_api.queries.dead_letter_queries import DeadLetterQueries
from soma_api.queries.erasure_queries import ErasureQueries
from soma_api.queries.history_queries import HistoryQueries
from soma_api.queries.link_queries import LinkQueries
from soma_api.queries.memory_queries import MemoryQueries
from soma_api.queries.overview_queries import OverviewQueries
from soma_api.queries.policy_queries import PolicyQueries
from soma_api.queries.write_queries import WriteQueries
from soma_api.roles import Role
from soma_api.services import Services
from soma_api.settings import ApiSettings
from soma_api.visibility import Visibility
from soma_api.write_responses import WriteResponder
from soma_schemas.fields import Namespace
from soma_schemas.groups import SinkGroup
from soma_schemas.identity import new_id
from soma_schemas.metrics import MetricSet
from soma_schemas.versions import Position

# Services.

ServiceT = TypeVar("ServiceT")


def _given(pick: Callable[[Services], ServiceT]) -> Callable[[Request], Awaitable[ServiceT]]:
    """Return a dependency: one of the services."""

    async def give(request: Request) -> ServiceT:
        return pick(services_of(request))

    return give


Settings = Annotated[ApiSettings, Depends(_given(lambda services: services.settings))]
StoreVisibility = Annotated[Visibility, Depends(_given(lambda services: services.visibility))]
EndsOfLog = Annotated[LogEnds, Depends(_given(lambda services: services.ends))]
ChangesApplied = Annotated[ChangeFeed, Depends(_given(lambda services: services.changes))]
AccessesCounted = Annotated[Accesses, Depends(_given(lambda services: services.accesses))]
Memories = Annotated[MemoryQueries, Depends(_given(lambda services: services.memories))]
Histories = Annotated[HistoryQueries, Depends(_given(lambda services: services.histories))]
Links = Annotated[LinkQueries, Depends(_given(lambda services: services.links))]
Policies = Annotated[PoliciesInForce, Depends(_given(lambda services: services.policies))]
Writes = Annotated[WriteQueries, Depends(_given(lambda services: services.writes))]
Overview = Annotated[OverviewQueries, Depends(_given(lambda services: services.overview))]
DeadLetters = Annotated[DeadLetterQueries, Depends(_given(lambda services: services.dead_letters))]
AuditLog = Annotated[AuditLogQueries, Depends(_given(lambda services: services.audit_log))]
Erasures = Annotated[ErasureQueries, Depends(_given(lambda services: services.erasures))]
ErasuresInProgress = Annotated[OpenErasures, Depends(_given(lambda services: services.open_erasures))]
ErasureRequests = Annotated[ErasureRequesting, Depends(_given(lambda services: services.erasure_requests))]
PoliciesAsked = Annotated[PolicyQueries, Depends(_given(lambda services: services.policy_queries))]
ChangesOfPolicies = Annotated[PolicyChanges, Depends(_given(lambda services: services.policy_changes))]
Now = Annotated[datetime, Depends(_given(lambda services: services.clock.now()))]
SearchIndex = Annotated[Searcher, Depends(_given(lambda services: services.search))]
PageCursors = Annotated[Cursors, Depends(_given(lambda services: services.cursors))]

ProcessMetrics = Annotated[MetricSet, Depends(_given(lambda services: services.metrics.of_process))]

# The principal.

_PROXIED = ("forwarded", "x-forwarded-for", "x-real-ip")


class Requires:
    """A dependency: the principal behind a request, if they may; a security scheme in OpenAPI.

    A request is counted for the rate limits.

    Args:
        role: The least role that suffices.
        whole_tenant: What is answered about the whole tenant and can be held to no namespace, as the
            beginning of a sentence; a key that is limited to namespaces is refused. None: any key will do.
    """

    def __init__(self, role: Role, *, whole_tenant: str | None = None) -> None:
        self.role = role
        self.whole_tenant = whole_tenant

    async def __call__(self, request: Request) -> Principal:
        """Return who asks, and count the request.

        Raises:
            UnauthenticatedError: Nobody that we know.
            RateLimitedError: Somebody who has sent too many requests.
            RoleTooLowError: Somebody whose role is too low.
            NamespaceForbiddenError: Somebody whose key does not cover every namespace.
        """
        # A route may have two dependencies of this kind; its request is one, and authenticated once.
        known: Principal | None = getattr(request.state, "principal", None)
        if known is None:
            known = await _authenticated(request)
            answer_with(request.scope, await services_of(request).rate_limits.admit(known))
            request.state.principal = known
        return self.permitted(known)

    async def uncounted(self, request: Request) -> Principal:
        """Return who asks, likewise, where the request does not count or was counted already."""
        return self.permitted(await _authenticated(request))

    def permitted(self, principal: Principal) -> Principal:
        """Return a principal who may.

        Raises:
            RoleTooLowError: Their role is too low.
            NamespaceForbiddenError: Their key does not cover every namespace.
        """
        principal.require(self.role)
        if self.whole_tenant is not None and principal.namespaces is not None:
            raise NamespaceForbiddenError(f"{self.whole_tenant} take a key that covers every namespace")
        return principal


class RequiresElsewhere:
    """A dependency: lets in who is on this machine, unless that is turned off, and others as `Requires` does.

    No request is counted: one that is refused would leave a gap in what Prometheus keeps.

    Args:
        role: The least role that suffices elsewhere.
    """

    def __init__(self, role: Role) -> None:
        self.requires = Requires(role)

    async def __call__(self, request: Request) -> None:
        """Return when the client may ask.

        Raises:
            UnauthenticatedError: Nobody that we know.
            RoleTooLowError: Somebody whose role is too low.
        """
        if not (services_of(request).settings.api.metrics_on_loopback and _is_local(request)):
            await self.requires.uncounted(request)


def _is_local(request: Request) -> bool:
    # A proxy on this machine makes everybody look local; what it adds gives it away.
    if request.client is None or any(name in request.headers for name in _PROXIED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def _authenticated(request: Request) -> Principal:
    services = services_of(request)
    network = client_network(
        None if request.client is None else request.client.host,
        request.headers.getlist("x-forwarded-for"),
        services.settings.api.trusted_proxies,
    )
    return await services.admission.principal(_credential_of(request), network)


def _credential_of(request: Request) -> str | None:
    authorization = request.headers.get("authorization")
    if authorization is not None:
        # Another scheme beside a good key is refused: it was meant to count.
        scheme, _, credential = authorization.partition(" ")
        return credential.strip() if scheme.lower() == "bearer" else ""
    return request.headers.get("x-api-key")


_require_reader = Requires(Role.READER)
Reader = Annotated[Principal, Depends(_require_reader)]
Writer = Annotated[Principal, Depends(Requires(Role.WRITER))]
Operator = Annotated[Principal, Depends(Requires(Role.OPERATOR))]
# What cannot be read has no namespace to hold somebody to.
DeadLetterOperator = Annotated[Principal, Depends(Requires(Role.OPERATOR, whole_tenant="dead letters"))]
AuditLogAdmin = Annotated[Principal, Depends(Requires(Role.ADMIN, whole_tenant="entries of the audit log"))]
# A person is spoken of in every namespace, and a history row may have lain in another one.
ErasureAdmin = Annotated[Principal, Depends(Requires(Role.ADMIN, whole_tenant="erasures"))]


async def _checked_again(request: Request) -> Callable[[], Awaitable[Principal]]:
    return partial(_require_reader.uncounted, request)


# Raises as soon as the key of a request that goes on for long is not good any more.
CheckedAgain = Annotated[Callable[[], Awaitable[Principal]], Depends(_checked_again)]

NamespaceQuery = Annotated[
    Namespace | None,
    Query(description="Namespace of the memory; required only while it is not visible yet."),
]

# Reads.


def _wait_for(
    services: Services, group: SinkGroup, positions: Sequence[Position] | None, prefer: Sequence[str] | None
) -> PositionWait:
    gateway = services.settings.api
    return PositionWait(
        visibility=services.visibility,
        group=group,
        positions=positions or (),
        preferred=headers.preferred_wait(prefer, gateway.max_wait.total_seconds()),
        default=gateway.read_wait.total_seconds(),
    )


class Reads:
    """A dependency: how new the answer from a sink's store has to be."""

    def __init__(self, group: SinkGroup) -> None:
        self._group = group

    async def __call__(
        self,
        request: Request,
        positions: headers.Positions = None,
        prefer: headers.PreferOfRead = None,
        max_staleness: headers.MaxStaleness = None,
    ) -> ReadConsistency:
        """Return what the headers ask for; `ensure` waits for it."""
        services = services_of(request)
        return ReadConsistency(
            positions=_wait_for(services, self._group, positions, prefer),
            max_staleness=max_staleness,
            metrics=services.metrics,
            replicas=services.replicas if self._group is SinkGroup.POSTGRES else None,
        )


ReadsRecords = Annotated[ReadConsistency, Depends(Reads(SinkGroup.POSTGRES))]
ReadsIndex = Annotated[ReadConsistency, Depends(Reads(SinkGroup.VECTORS))]

# Writes.


@dataclass(frozen=True)
class WriteRequest:
    """What a route needs to write.

    Attributes:
        events: Makes the events of the request.
        access: What the principal may change.
        responder: Publishes the events and makes the response.
    """

    events: EventFactory
    access: NamespaceAccess
    responder: WriteResponder

    def expecting(self, version: int | None) -> Self:
        """Return a request whose events apply to this version of a memory alone."""
        return replace(self, events=self.events.expecting(version))


async def _write_request(
    request: Request,
    principal: Writer,
    idempotency_key: headers.IdempotencyKey = None,
    prefer: headers.PreferOfWrite = None,
) -> WriteRequest:
    services = services_of(request)
    now = services.clock.now()
    wait_seconds = headers.preferred_wait(prefer, services.settings.api.max_wait.total_seconds())
    return WriteRequest(
        EventFactory(
            principal=principal,
            event_id=idempotency_key or new_id(now),
            now=now,
            limits=services.settings.limits,
            embedder=services.settings.embedder,
        ),
        NamespaceAccess(services.memories, principal),
        WriteResponder(services.log, services.writes, services.visibility, wait_seconds),
    )


_AnyWrite = Annotated[WriteRequest, Depends(_write_request)]


async def _conditional_write(
    write: _AnyWrite, if_match: headers.IfMatch = None, if_absent: headers.IfAbsent = None
) -> WriteRequest:
    return write.expecting(headers.expected_version(if_match, if_absent))


async def _unconditional_write(
    write: _AnyWrite,
    if_match: Annotated[str | None, Header(include_in_schema=False)] = None,
    if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> WriteRequest:
    if if_match is not None or if_none_match is not None:
        raise ConditionUnsupportedError("`If-Match` and `If-None-Match` are for writes to one memory")
    return write


async def _position_wait(
    request: Request, positions: headers.Positions = None, prefer: headers.PreferOfWrite = None
) -> PositionWait:
    return _wait_for(services_of(request), SinkGroup.POSTGRES, positions, prefer)


WaitsForPosition = Annotated[PositionWait, Depends(_position_wait)]
ConditionalWrite = Annotated[WriteRequest, Depends(_conditional_write)]
UnconditionalWrite = Annotated[WriteRequest, Depends(_unconditional_write)]
