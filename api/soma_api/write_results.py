"""The result of a write: its position, and its outcome if it waited."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soma_api.problems import (
    ApiError,
    DeadLetteredError,
    MemoryNotFoundError,
    PreconditionFailedError,
    SupersededError,
)
from soma_api.queries.write_queries import SettledWrite
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_schemas.producer import Receipt


@dataclass(frozen=True)
class Written:
    """A write that the log has.

    Attributes:
        version: What the memory's version is once the write is applied.
        settled: What became of it; None when nobody waited, or not long enough.
    """

    receipt: Receipt
    version: int
    settled: SettledWrite | None

    @property
    def done(self) -> bool:
        """Say whether what was asked for is so: applied now, or before by the same event."""
        return self.settled is not None and (
            self.settled.outcome is Outcome.APPLIED or self.settled.reason == SupersededReason.DUPLICATE
        )

    def view(self) -> dict[str, Any]:
        """Return it as `WriteView` describes it."""
        position = str(self.receipt.position)
        return {
            "event_id": self.receipt.event_id,
            "memory_id": self.receipt.memory_id,
            "position": position,
            "version": self.version,
            "outcome": None if self.settled is None else self.settled.outcome,
            "reason": None if self.settled is None else self.settled.reason,
            "status_url": f"/v1/writes/{position}",
        }


def refusal(written: Written) -> ApiError | None:
    """Return why a settled write did not do what was asked, or None when it did or is not settled."""
    settled = written.settled
    if settled is None or written.done:
        return None
    members: Mapping[str, Any] = {"write": written.view()}
    if settled.outcome is Outcome.DEAD_LETTERED:
        return DeadLetteredError(
            f"the sink refused it with code {settled.error_code or 'unknown'}", members=members
        )
    match settled.reason:
        case SupersededReason.VERSION_MISMATCH:
            return PreconditionFailedError("the memory has another version than expected", members=members)
        case SupersededReason.NOT_FOUND:
            return MemoryNotFoundError("there is no such memory to change", members=members)
        case reason:
            return SupersededError(f"the write was superseded: {reason or 'unknown'}", members=members)
