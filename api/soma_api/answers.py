"""Publish what a request asks for, wait for it when it asks to, and answer."""

from collections.abc import Sequence
from enum import Enum, auto

import structlog
from fastapi import Request
from starlette.responses import Response

from soma_api import headers
from soma_api.commands import Command
from soma_api.dependencies import Services, services_of
from soma_api.metrics import WaitFor
from soma_api.models.outputs import json_response
from soma_api.problems import StoreUnavailableError
from soma_api.queries.writes import Outcome, SettledWrite
from soma_api.waiting import SETTLED
from soma_api.writes import Written, refusal
from soma_schemas.events import MemoryEvent
from soma_schemas.versions import Position

log = structlog.get_logger(__name__)


class Creates(Enum):
    """When a write has made something."""

    ALWAYS = auto()
    IF_NEW = auto()
    NEVER = auto()


async def write_one(request: Request, command: Command, event: MemoryEvent, *, creates: Creates) -> Response:
    """Publish one event and answer: 202, or, when the request waits and it is settled, its outcome.

    Args:
        request: With or without `Prefer: wait`.
        command: What the event was made from.
        event: Valid.
        creates: When a write that is applied has made something, and is answered 201 rather than 200.

    Raises:
        LogUnavailableError: The log did not acknowledge it.
        PreconditionFailedError: It waited, and the memory has another version than it expects.
        MemoryNotFoundError: It waited, and there is nothing to change.
        SupersededError: It waited, and the memory is newer.
        DeadLetteredError: It waited, and the sink can never apply it.
    """
    (written,), answered = await _write(request, command, [event])
    if (error := refusal(written)) is not None:
        raise error
    if not written.done:
        answered["Location"] = f"/v1/writes/{written.receipt.position}"
        return json_response(written.view(), 202, answered)
    answered["Location"] = f"/v1/memories/{written.receipt.memory_id}"
    status = 200
    if written.settled is not None and written.settled.outcome is Outcome.APPLIED:
        answered["ETag"] = headers.entity_tag(written.version)
        if creates is Creates.ALWAYS or (creates is Creates.IF_NEW and written.settled.created):
            status = 201
    return json_response(written.view(), status, answered)


async def write_many(request: Request, command: Command, events: Sequence[MemoryEvent]) -> Response:
    """Publish events and answer for them all: 202, 201 when all are applied, 200 when some changed nothing.

    Raises:
        LogUnavailableError: The log did not acknowledge them all; some may have been written.
    """
    writes, answered = await _write(request, command, events)
    view = {"writes": [written.view() for written in writes]}
    if any(written.settled is None for written in writes):
        return json_response(view, 202, answered)
    return json_response(view, 201 if all(written.done for written in writes) else 200, answered)


async def _write(
    request: Request, command: Command, events: Sequence[MemoryEvent]
) -> tuple[list[Written], dict[str, str]]:
    services = services_of(request)
    seconds = headers.preferred_wait(
        request.headers.getlist("prefer"), services.settings.api.wait_max.total_seconds()
    )
    receipts = await services.log.publish(events, command.event_id)
    positions = [receipt.position for receipt in receipts]
    outcomes: dict[Position, SettledWrite] = {}
    if seconds is not None and await services.wait(WaitFor.WRITE, SETTLED, positions, seconds):
        outcomes = await _outcomes(services, command.principal.tenant, positions)
    answered = {} if seconds is None else headers.applied_wait(seconds)
    return [
        Written(receipt, services.writes.version(receipt.position), outcomes.get(receipt.position))
        for receipt in receipts
    ], answered


async def _outcomes(
    services: Services, tenant: str, positions: Sequence[Position]
) -> dict[Position, SettledWrite]:
    try:
        return await services.writes.outcomes(tenant, positions)
    except StoreUnavailableError:
        # The log has the write, so a failure here must not look like a failed write: it is answered 202.
        log.warning("outcomes_unknown", writes=len(positions))
        return {}
