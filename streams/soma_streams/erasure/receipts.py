"""What a receipt says: made of what was counted and seen, and of until when the brokers keep copies."""

import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from soma_schemas.erasure_receipts import FORMAT, KEY_ID, SIGNATURE
from soma_schemas.events import ErasureCompleted
from soma_streams.erasure.erasure_state import Erasure


@dataclass(frozen=True, slots=True)
class Copy:
    """A topic that still holds copies.

    Attributes:
        topic: Its name on the brokers.
        keeps: The longest that a record written now stays.
        may_be_sealed: Whether its records are encrypted where they are about a subject.
    """

    topic: str
    keeps: timedelta
    may_be_sealed: bool = True


# Tells which topics hold copies, as the brokers are configured now.
Copies = Callable[[], Awaitable[Sequence[Copy]]]

# What no part of ours can empty or put a date to.
_OTHER_COPIES = {
    "memory.erasures": "the request itself, until the brokers compact the topic",
    "files of PostgreSQL and of the vector index": "until they are vacuumed, merged and overwritten",
    "backups and exports": "whoever made one before deletes it",
    "tombstones": "ids and versions, without content",
}


def receipt_of(erasure: Erasure, copies: Sequence[Copy], now: datetime) -> dict[str, Any]:
    """Return the receipt of an erasure that was looked through and found clean, to be signed."""
    sealed = f"unreadable at once where it was encrypted: {erasure.data_keys} data keys were destroyed"
    remaining: list[dict[str, str | None]] = [
        {
            "where": each.topic,
            "until": _written(now + each.keeps),
            "note": sealed if each.may_be_sealed and erasure.data_keys else None,
        }
        for each in copies
    ]
    remaining += [{"where": where, "until": None, "note": note} for where, note in _OTHER_COPIES.items()]
    return {
        "receipt": FORMAT,
        "request_id": str(erasure.request_id),
        "tenant": erasure.tenant,
        "scope": erasure.scope.value,
        "selector_sha256": erasure.selector_sha256,
        "requested_by": erasure.actor,
        "requested_at": _written(erasure.requested_at),
        "accepted_at": _written(erasure.accepted_at),
        "completed_at": _written(now),
        "erased": {
            "memories": erasure.memories,
            "history_rows": erasure.history_rows,
            "links": erasure.links,
            "dead_letters": erasure.dead_letters,
            "outbox_rows": erasure.outbox_rows,
            "notices": erasure.notices,
            "data_keys": erasure.data_keys,
        },
        "verified": {
            "postgresql": "no row of memories, history, links, outbox or dead letters is left",
            "vector_index": f"{erasure.index_points} points looked at, none holds content",
        },
        "log_expires_at": _written(max((now + each.keeps for each in copies), default=now)),
        "remaining_copies": remaining,
    }


def receipt_text(receipt: Mapping[str, Any]) -> str:
    """Return a signed receipt as it is kept and handed out."""
    return json.dumps(receipt, indent=2, ensure_ascii=False)


def completed_event(erasure: Erasure) -> ErasureCompleted:
    """Return the event that says so; made again it is the same.

    Raises:
        ValueError: The erasure has no receipt.
    """
    if erasure.receipt is None:
        raise ValueError("an erasure without a receipt is not complete")
    receipt = json.loads(erasure.receipt)
    return ErasureCompleted.validated(
        {
            "event_id": erasure.event_id("completed"),
            "tenant": erasure.tenant,
            "occurred_at": receipt["completed_at"],
            "actor": erasure.deleter,
            "request_id": erasure.request_id,
            "memories": receipt["erased"]["memories"],
            "history_rows": receipt["erased"]["history_rows"],
            "dead_letters": receipt["erased"]["dead_letters"],
            "log_expires_at": receipt["log_expires_at"],
            "signing_key_id": receipt[KEY_ID],
            "signature": base64.b64decode(receipt[SIGNATURE]),
            "receipt": erasure.receipt,
        }
    )


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
