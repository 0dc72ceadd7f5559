"""What routes are given: who asks, what the body says, and the services that answer."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from soma_api import headers
from soma_api.commands import Command
from soma_api.completeness import IndexLook
from soma_api.cursors import Cursors
from soma_api.freshness import Freshness, LogEnds
from soma_api.metrics import ApiMetrics, WaitFor, WaitResult
from soma_api.parts import Searcher
from soma_api.principals import Authenticator, Principal, Role
from soma_api.probes import BackingPart, Probe
from soma_api.problems import (
    Fault,
    InvalidInputError,
    NotJsonError,
    NotYetVisibleError,
    TooStaleError,
    UnsupportedMediaTypeError,
    faults_of,
)
from soma_api.publishing import EventLog
from soma_api.queries.dead_letters import DeadLetterQueries
from soma_api.queries.memories import MemoryQueries
from soma_api.queries.overview import OverviewQueries
from soma_api.queries.writes import WriteQueries
from soma_api.settings import ApiSettings
from soma_api.waiting import WatermarkWaiter
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError
from soma_schemas.groups import SinkGroup
from soma_schemas.identity import new_id
from soma_schemas.json_text import JsonError, may_hold_what_no_double_is, read_json
from soma_schemas.versions import Position
from soma_schemas.violations import Violation, ViolationCode, violations_of

ModelT = TypeVar("ModelT", bound=BaseModel)

# Reading a body of this size takes milliseconds, in which the event loop would serve nobody.
_LARGE_BODY_BYTES = 128 * 1024

_LOOK_AGAIN_SECONDS = 0.25

_AS_IT_IS = "identity"  # the content coding that is none


@dataclass(frozen=True, kw_only=True)
class Services:
    """What answers requests; made once per application and found at `request.app.state.services`."""

    settings: ApiSettings
    clock: Clock
    metrics: ApiMetrics
    authenticator: Authenticator
    log: EventLog
    ends: LogEnds
    waiter: WatermarkWaiter
    freshness: Freshness
    memories: MemoryQueries
    writes: WriteQueries
    overview: OverviewQueries
    dead_letters: DeadLetterQueries
    search: Searcher
    index: IndexLook
    cursors: Cursors
    probes: Mapping[BackingPart, Probe]

    async def wait(
        self, wait_for: WaitFor, groups: tuple[SinkGroup, ...], positions: list[Position], seconds: float
    ) -> bool:
        """Wait until these sinks have settled these positions, say whether they have, and count it.

        While the index is not complete, what was settled into it may be missing from it.
        """
        started = self.clock.monotonic()
        visible = await self.waiter.wait(groups, positions, seconds)
        while visible and SinkGroup.VECTORS in groups and not await self.index_is_complete():
            await self.clock.sleep(_LOOK_AGAIN_SECONDS)
            visible = self.clock.monotonic() - started < seconds
        result = WaitResult.VISIBLE if visible else WaitResult.TIMED_OUT
        self.metrics.waited(wait_for, result, self.clock.monotonic() - started)
        return visible

    async def index_is_complete(self) -> bool:
        """Say whether the index has everything that was settled into it; one that is away has not."""
        try:
            return (await self.index.look()).complete
        except (SomaError, ConnectionError, TimeoutError):
            return False

    async def staleness(self, group: SinkGroup) -> float | None:
        """Return how many seconds old an answer from this sink can be at most; None when that is unknown."""
        if group is SinkGroup.VECTORS and not await self.index_is_complete():
            return None
        return self.freshness.staleness(group)


def services_of(request: Request) -> Services:
    """Return the services of the application that serves a request."""
    services: Services = request.app.state.services
    return services


class Requires:
    """A dependency: the principal behind a request, if their role suffices."""

    def __init__(self, role: Role) -> None:
        self._role = role

    async def __call__(self, request: Request) -> Principal:
        """Return who asks.

        Raises:
            UnauthenticatedError: Nobody that we know.
            RoleTooLowError: Somebody who may not.
        """
        principal = await services_of(request).authenticator.authenticate(credential_of(request))
        principal.require(self._role)
        return principal


def credential_of(request: Request) -> str | None:
    """Return the credential that a request carries, or None."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, credential = authorization.partition(" ")
        return credential.strip() if scheme.lower() == "bearer" else ""
    return request.headers.get("x-api-key")


Reader = Annotated[Principal, Depends(Requires(Role.READER))]
Writer = Annotated[Principal, Depends(Requires(Role.WRITER))]
Operator = Annotated[Principal, Depends(Requires(Role.OPERATOR))]


class JsonBody(Generic[ModelT]):
    """A dependency: the body, read straight from its bytes and held to this installation's limits.

    Args:
        model: What it must be.
        media_types: Besides `application/json`.
    """

    def __init__(self, model: type[ModelT], *media_types: str) -> None:
        self.model = model
        self.media_types = ("application/json", *media_types)

    async def __call__(self, request: Request) -> ModelT:
        """Return the body.

        Raises:
            UnsupportedMediaTypeError: It says that it is no JSON, or that it is compressed.
            NotJsonError: It is no JSON.
            InvalidInputError: It breaks the contract.
            BodyTooLargeError: It is larger than this installation takes.
        """
        said = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if said not in self.media_types:
            raise UnsupportedMediaTypeError("the body does not say that it is JSON")
        if request.headers.get("content-encoding", _AS_IT_IS).strip().lower() not in {_AS_IT_IS, ""}:
            raise UnsupportedMediaTypeError(
                "the body says that it is compressed", headers={"Accept-Encoding": _AS_IT_IS}
            )
        body = await request.body()
        limits = services_of(request).settings.limits
        if len(body) > _LARGE_BODY_BYTES:
            return await asyncio.to_thread(parsed, self.model, body, {"limits": limits})
        return parsed(self.model, body, {"limits": limits})


def parsed(model: type[ModelT], body: bytes, context: Mapping[str, Any]) -> ModelT:
    """Return a body as its model.

    Raises:
        NotJsonError: It is no JSON.
        InvalidInputError: It breaks the contract.
    """
    try:
        value = model.model_validate_json(body, context=dict(context))
    except ValidationError as error:
        faults = faults_of(violations_of(error))
    else:
        faults = []
    if (not faults or _is_no_json(faults)) and may_hold_what_no_double_is(body):
        # pydantic makes zero of what is too small, and nothing of an integer of thousands of digits.
        try:
            read_json(body)
        except JsonError as error:
            faults = faults_of([Violation("", error.code, str(error))])
    if not faults:
        return value
    if _is_no_json(faults):
        raise NotJsonError(faults[0].message, faults=faults)
    raise InvalidInputError("the body breaks the contract; nothing was sent", faults=faults)


def _is_no_json(faults: Sequence[Fault]) -> bool:
    return len(faults) == 1 and faults[0].code is ViolationCode.NOT_JSON and not faults[0].path


def command_of(request: Request, principal: Principal) -> Command:
    """Return what the events of a write have in common.

    Raises:
        InvalidHeaderError: `Idempotency-Key`, `If-Match` or `If-None-Match` cannot be understood.
    """
    services = services_of(request)
    now = services.clock.now()
    return Command(
        principal=principal,
        event_id=headers.idempotency_key(request.headers.get("idempotency-key")) or new_id(now),
        now=now,
        limits=services.settings.limits,
        embedder=services.settings.embedder,
        expected=headers.expected_version(
            request.headers.get("if-match"), request.headers.get("if-none-match")
        ),
    )


async def wait_for_positions(request: Request, groups: tuple[SinkGroup, ...]) -> dict[str, str]:
    """Wait for the positions that a request names, and return the headers that say so.

    Raises:
        InvalidHeaderError: `Soma-Position` cannot be understood.
        NotYetVisibleError: The sinks have not come so far in time.
    """
    wanted = headers.positions(request.headers.getlist("soma-position"))
    if not wanted:
        return {}
    services = services_of(request)
    gateway = services.settings.api
    preferred = headers.preferred_wait(request.headers.getlist("prefer"), gateway.wait_max.total_seconds())
    seconds = gateway.read_wait.total_seconds() if preferred is None else preferred
    if not await services.wait(WaitFor.READ, groups, wanted, seconds):
        raise NotYetVisibleError("a position in `Soma-Position` is not visible yet")
    return {} if preferred is None else headers.applied_wait(preferred)


async def read_headers(request: Request, group: SinkGroup) -> dict[str, str]:
    """Wait for what a read asks for, and return the headers that say how old its answer may be.

    Raises:
        InvalidHeaderError: `Soma-Position` or `Soma-Max-Staleness` cannot be understood.
        NotYetVisibleError: The sink has not come so far in time.
        TooStaleError: The answer could be older than the reader accepts.
    """
    services = services_of(request)
    answered = await wait_for_positions(request, (group,))
    most = headers.max_staleness(request.headers.get("soma-max-staleness"))
    staleness = await services.staleness(group)
    if most is not None and (staleness is None or staleness > most):
        how_old = "an unknown age" if staleness is None else f"up to {staleness:.1f} s"
        raise TooStaleError(f"the answer would be of {how_old}; at most {most:g} s are accepted")
    if staleness is None:
        return answered | {"Soma-Staleness": "unknown"}
    services.metrics.served_stale(staleness)
    return answered | {"Soma-Staleness": f"{staleness:.3f}"}
