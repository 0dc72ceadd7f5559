"""The FastAPI dependencies of the routes: the principal, the headers, and the services."""

from typing import Annotated

from fastapi import Depends, Header, Query
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from soma_api import headers
from soma_api.consistency import PositionWait, ReadConsistency
from soma_api.cursors import Cursors
from soma_api.event_factory import EventFactory
from soma_api.freshness import LogEnds
from soma_api.injection import InjectedServices
from soma_api.namespace_access import NamespaceAccess
from soma_api.principals import Principal, Role
from soma_api.problems import ConditionUnsupportedError, NamespaceForbiddenError
from soma_api.queries.dead_letter_queries import DeadLetterQueries
from soma_api.queries.memory_queries import MemoryQueries
from soma_api.queries.overview_queries import OverviewQueries
from soma_api.queries.write_queries import WriteQueries
from soma_api.resources import Searcher
from soma_api.settings import ApiSettings
from soma_api.visibility import Visibility
from soma_api.write_responses import WriteResponder
from soma_schemas.fields import Namespace
from soma_schemas.groups import SinkGroup
from soma_schemas.identity import new_id

# What answers.


async def _settings(services: InjectedServices) -> ApiSettings:
    return services.settings


async def _visibility(services: InjectedServices) -> Visibility:
    return services.visibility


async def _log_ends(services: InjectedServices) -> LogEnds:
    return services.ends


async def _memories(services: InjectedServices) -> MemoryQueries:
    return services.memories


async def _writes(services: InjectedServices) -> WriteQueries:
    return services.writes


async def _overview(services: InjectedServices) -> OverviewQueries:
    return services.overview


async def _dead_letters(services: InjectedServices) -> DeadLetterQueries:
    return services.dead_letters


async def _search(services: InjectedServices) -> Searcher:
    return services.search


async def _cursors(services: InjectedServices) -> Cursors:
    return services.cursors


Settings = Annotated[ApiSettings, Depends(_settings)]
StoreVisibility = Annotated[Visibility, Depends(_visibility)]
EndsOfLog = Annotated[LogEnds, Depends(_log_ends)]
Memories = Annotated[MemoryQueries, Depends(_memories)]
Writes = Annotated[WriteQueries, Depends(_writes)]
Overview = Annotated[OverviewQueries, Depends(_overview)]
DeadLetters = Annotated[DeadLetterQueries, Depends(_dead_letters)]
SearchIndex = Annotated[Searcher, Depends(_search)]
PageCursors = Annotated[Cursors, Depends(_cursors)]

# Who asks.

_BEARER = HTTPBearer(scheme_name="bearer", description="An API key, `soma_...`.", auto_error=False)
_API_KEY = APIKeyHeader(name="X-API-Key", scheme_name="apiKey", description="The same.", auto_error=False)


async def _credential(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    api_key: Annotated[str | None, Depends(_API_KEY)],
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> str | None:
    if authorization is not None:
        # Another scheme beside a good key is refused: it was meant to count.
        return "" if bearer is None else bearer.credentials.strip()
    return api_key


Credential = Annotated[str | None, Depends(_credential)]


class Requires:
    """A dependency: the principal behind a request, if their role suffices."""

    def __init__(self, role: Role) -> None:
        self._role = role

    async def __call__(self, services: InjectedServices, credential: Credential) -> Principal:
        """Return who asks.

        Raises:
            UnauthenticatedError: Nobody that we know.
            RoleTooLowError: Somebody who may not.
        """
        principal = await services.authenticator.authenticate(credential)
        principal.require(self._role)
        return principal


require_operator = Requires(Role.OPERATOR)
Reader = Annotated[Principal, Depends(Requires(Role.READER))]
Writer = Annotated[Principal, Depends(Requires(Role.WRITER))]
Operator = Annotated[Principal, Depends(require_operator)]


async def _operator_of_tenant(principal: Operator) -> Principal:
    # What cannot be read has no namespace to hold somebody to.
    if principal.namespaces is not None:
        raise NamespaceForbiddenError("dead letters take a key that covers every namespace")
    return principal


TenantOperator = Annotated[Principal, Depends(_operator_of_tenant)]

NamespaceQuery = Annotated[
    Namespace | None,
    Query(description="Namespace of the memory; required only while it is not visible yet."),
]

# Reads.


class Reads:
    """A dependency: how new the answer from a sink's store has to be."""

    def __init__(self, group: SinkGroup) -> None:
        self._group = group

    async def __call__(
        self,
        services: InjectedServices,
        positions: headers.Positions = None,
        prefer: headers.PreferOfRead = None,
        max_staleness: headers.MaxStaleness = None,
    ) -> ReadConsistency:
        """Return what the headers ask for; `ensure` waits for it."""
        gateway = services.settings.api
        return ReadConsistency(
            visibility=services.visibility,
            group=self._group,
            positions=positions or (),
            preferred=headers.preferred_wait(prefer, gateway.max_wait.total_seconds()),
            default=gateway.read_wait.total_seconds(),
            max_staleness=max_staleness,
            metrics=services.metrics,
        )


ReadsRecords = Annotated[ReadConsistency, Depends(Reads(SinkGroup.POSTGRES))]
ReadsIndex = Annotated[ReadConsistency, Depends(Reads(SinkGroup.VECTORS))]

# Writes.


async def _write_wait(services: InjectedServices, prefer: headers.PreferOfWrite = None) -> float | None:
    return headers.preferred_wait(prefer, services.settings.api.max_wait.total_seconds())


_WriteWait = Annotated[float | None, Depends(_write_wait)]


async def _position_wait(
    services: InjectedServices, preferred: _WriteWait, positions: headers.Positions = None
) -> PositionWait:
    return PositionWait(
        visibility=services.visibility,
        group=SinkGroup.POSTGRES,
        positions=positions or (),
        preferred=preferred,
        default=services.settings.api.read_wait.total_seconds(),
    )


async def _responder(services: InjectedServices, wait_seconds: _WriteWait) -> WriteResponder:
    return WriteResponder(services.log, services.writes, services.visibility, wait_seconds)


async def _access(principal: Writer, memories: Memories) -> NamespaceAccess:
    return NamespaceAccess(memories, principal)


async def _events(
    services: InjectedServices, principal: Writer, idempotency_key: headers.IdempotencyKey = None
) -> EventFactory:
    now = services.clock.now()
    return EventFactory(
        principal=principal,
        event_id=idempotency_key or new_id(now),
        now=now,
        limits=services.settings.limits,
        embedder=services.settings.embedder,
    )


_Events = Annotated[EventFactory, Depends(_events)]


async def _conditional_events(
    events: _Events, if_match: headers.IfMatch = None, if_absent: headers.IfAbsent = None
) -> EventFactory:
    return events.expecting(headers.expected_version(if_match, if_absent))


async def _unconditional_events(
    events: _Events,
    if_match: Annotated[str | None, Header(include_in_schema=False)] = None,
    if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> EventFactory:
    if if_match is not None or if_none_match is not None:
        raise ConditionUnsupportedError("`If-Match` and `If-None-Match` are for writes to one memory")
    return events


WaitsForPosition = Annotated[PositionWait, Depends(_position_wait)]
Responder = Annotated[WriteResponder, Depends(_responder)]
Access = Annotated[NamespaceAccess, Depends(_access)]
ConditionalEvents = Annotated[EventFactory, Depends(_conditional_events)]
UnconditionalEvents = Annotated[EventFactory, Depends(_unconditional_events)]
