"""The state of a write, over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.responses import Response

from soma_api.dependencies import EndsOfLog, Reader, StoreVisibility, Writes
from soma_api.freshness import LogEnds
from soma_api.models.responses import json_response
from soma_api.openapi import answers
from soma_api.problems import LogUnavailableError, StoreUnavailableError, WriteNotFoundError
from soma_api.queries.write_queries import SettledWrite
from soma_api.watermark_waiter import READABLE, SEARCHABLE
from soma_schemas.groups import SinkGroup
from soma_schemas.responses.write_responses import WriteState
from soma_schemas.versions import Position

router = APIRouter(tags=["writes"])

_Position = Annotated[str, Path(description="Where the write lies in the log, as its answer said.")]


@router.get(
    "/v1/writes/{position}",
    operation_id="read_write",
    response_model=WriteState,
    responses=answers(WriteState, {}, WriteNotFoundError, LogUnavailableError, StoreUnavailableError),
)
async def read_write(
    *, principal: Reader, writes: Writes, visibility: StoreVisibility, ends: EndsOfLog, position: _Position
) -> Response:
    """Return the state of a write: pending, applied, superseded or dead-lettered, and whether it is visible.

    A position that the log does not have, or that belongs to another tenant, is not found. While an event is
    pending its tenant is unknown, and the response says only that it is pending.
    """
    try:
        place = Position.parse(position)
    except ValueError:
        raise WriteNotFoundError("a position is `partition:offset`, for example `3:1042`") from None
    # Asked first: a write that settles between the two questions is still pending, not gone.
    readable = visibility.passed(READABLE, place)
    settled = (await writes.outcomes(principal.tenant, [place])).get(place)
    if settled is None:
        await _check_pending(place, ends, visibility.epoch, passed=readable)
    elif settled.namespace is not None and not principal.may_access(settled.namespace):
        raise WriteNotFoundError("there is no write at this position")
    dead_letters = {} if settled is None else await writes.dead_letters(principal.tenant, place)
    return json_response(
        {
            "position": str(place),
            "state": "pending" if settled is None else settled.outcome,
            "readable": visibility.passed(READABLE, place),
            # A dead letter of the index is behind it as well, and no search finds what it says.
            "searchable": visibility.passed(SEARCHABLE, place)
            and SinkGroup.VECTORS not in dead_letters
            and await visibility.index_is_complete(),
            "reason": None if settled is None else settled.reason,
            "error_code": None if settled is None else settled.error_code,
            "dead_letters": dead_letters,
            **_event(settled),
        }
    )


async def _check_pending(place: Position, ends: LogEnds, epoch: int, *, passed: bool) -> None:
    # Passed without an outcome of this tenant: another's, or older than history is kept.
    if passed:
        raise WriteNotFoundError("there is no write at this position")
    # One that has begun since the last look is found a moment later.
    if place.epoch == epoch and place.offset >= (await ends.ends()).get(place.partition, 0):
        raise WriteNotFoundError("the log does not have this position")


def _event(settled: SettledWrite | None) -> dict[str, Any]:
    if settled is None:
        return {"event_id": None, "memory_id": None, "event_type": None}
    return {
        "event_id": settled.event_id,
        "memory_id": settled.memory_id,
        "event_type": settled.event_type,
    }
