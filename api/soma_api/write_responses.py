"""Publishes the events of a request, waits if it asks to, and makes the response."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from uuid import UUID

import structlog
from starlette.responses import Response

from soma_api import headers
from soma_api.metrics import WaitFor
from soma_api.models.responses import json_response
from soma_api.problems import StoreUnavailableError
from soma_api.publishing import EventLog
from soma_api.queries.write_queries import SettledWrite, WriteQueries
from soma_api.visibility import Visibility
from soma_api.watermark_waiter import SETTLED
from soma_api.write_results import Written, refusal
from soma_schemas.events import MemoryEvent
from soma_schemas.outcomes import Outcome
from soma_schemas.versions import Position

log = structlog.get_logger(__name__)


class Creates(Enum):
    """When a write has made something."""

    ALWAYS = auto()
    IF_NEW = auto()
    NEVER = auto()


@dataclass(frozen=True)
class WriteResponder:
    """Publishes the events of one request and answers for them.

    Attributes:
        log: Takes the events.
        writes: Tells what became of them.
        visibility: Of the stores.
        wait_seconds: How long the client would wait for the outcome; None: not at all.
    """

    log: EventLog
    writes: WriteQueries
    visibility: Visibility
    wait_seconds: float | None

    async def one(self, event: MemoryEvent, *, creates: Creates) -> Response:
        """Publish one event and answer: 202, or, when the request waits and it is settled, its outcome.

        Args:
            event: Valid.
            creates: When a write that is applied has made something, and is answered 201 rather than 200.

        Raises:
            LogUnavailableError: The log did not acknowledge it.
            PreconditionFailedError: It waited, and the memory has another version than it expects.
            MemoryNotFoundError: It waited, and there is nothing to change.
            SupersededError: It waited, and the memory is newer.
            DeadLetteredError: It waited, and the sink can never apply it.
        """
        (written,) = await self._write([event], event.event_id)
        if (error := refusal(written)) is not None:
            raise error
        answered = self._headers()
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

    async def many(self, events: Sequence[MemoryEvent], idempotency_key: UUID) -> Response:
        """Publish events and answer for all: 202, 201 when all are applied, 200 when some changed nothing.

        Args:
            events: Valid.
            idempotency_key: Of the request that they are made of.

        Raises:
            LogUnavailableError: The log did not acknowledge them all; some may have been written.
        """
        writes = await self._write(events, idempotency_key)
        view = {"writes": [written.view() for written in writes]}
        if any(written.settled is None for written in writes):
            return json_response(view, 202, self._headers())
        return json_response(view, 201 if all(written.done for written in writes) else 200, self._headers())

    def _headers(self) -> dict[str, str]:
        return {} if self.wait_seconds is None else headers.applied_wait(self.wait_seconds)

    async def _write(self, events: Sequence[MemoryEvent], idempotency_key: UUID) -> list[Written]:
        receipts = await self.log.publish(events, idempotency_key)
        positions = [receipt.position for receipt in receipts]
        outcomes: dict[Position, SettledWrite] = {}
        if self.wait_seconds is not None and await self.visibility.wait(
            WaitFor.WRITE, SETTLED, positions, self.wait_seconds
        ):
            outcomes = await self._outcomes(events[0].tenant, positions)
        return [
            Written(receipt, receipt.position.version, outcomes.get(receipt.position)) for receipt in receipts
        ]

    async def _outcomes(self, tenant: str, positions: Sequence[Position]) -> dict[Position, SettledWrite]:
        try:
            return await self.writes.outcomes(tenant, positions)
        except StoreUnavailableError:
            # The log has the write, so a failure here must not look like a failed write: it is answered 202.
            log.warning("outcomes_unknown", writes=len(positions))
            return {}
