"""What a receipt says: made of what was counted and seen, and of until when the brokers keep copies."""

import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from soma_schemas.erasure_receipts import FORMAT, KEY_ID, SIGNATURE
from soma_schemas.events import ErasureCompleted
from soma_schemas.versions import pack_version, unpack_version
from soma_streams.erasure.erasure_state import Erasure


class Holds(Enum):
    """What a topic still has of what is erased."""

    SEALED_EVENTS = auto()  # encrypted where they are about a subject
    PLAIN_EVENTS = auto()
    WRAPPED_KEYS = auto()


@dataclass(frozen=True, slots=True)
class Copy:
    """A topic that still holds copies.

    Attributes:
        topic: Its name on the brokers.
        keeps: The longest that a record written now stays; a wrapped key, since its tombstone was written.
        holds: What of.
    """

    topic: str
    keeps: timedelta
    holds: Holds = Holds.SEALED_EVENTS


# Tells which topics hold copies, as the brokers are configured now.
Copies = Callable[[], Awaitable[Sequence[Copy]]]

# Where each partition of memory.events ended when the request was accepted: what lies before was erased.
_LOG_BEFORE = "log_before"

# What no part of ours can empty or put a date to.
_OTHER_COPIES = {
    "memory.erasures": "the request itself, until the brokers compact the topic",
    "files of PostgreSQL and of the vector index": "until they are vacuumed, merged and overwritten",
    "backups and exports": "whoever made one before deletes it",
    "tombstones": "ids and versions, without content",
}


def receipt_of(erasure: Erasure, copies: Sequence[Copy], now: datetime) -> dict[str, Any]:
    """Return the receipt of an erasure that was looked through and found clean, to be signed."""
    remaining: list[dict[str, str | None]] = [
        {"where": each.topic, "until": _written(now + each.keeps), "note": _note(each, erasure)}
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
        _LOG_BEFORE: _before(erasure),
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
            "vector_index": f"points that hold content: 0 of {erasure.index_points}",
        },
        "log_expires_at": _written(max((now + each.keeps for each in copies), default=now)),
        "remaining_copies": remaining,
    }


def reached(receipt: Mapping[str, Any]) -> list[int]:
    """Return below which version an erasure reached, by partition of the log; empty where it is not said."""
    before = receipt.get(_LOG_BEFORE) or {"epoch": 0, "offsets": []}
    return [pack_version(before["epoch"], offset) for offset in before["offsets"]]


def _before(erasure: Erasure) -> dict[str, Any]:
    places = [unpack_version(version) for version in erasure.before_versions]
    return {
        "epoch": max((epoch for epoch, _ in places), default=0),
        "offsets": [offset for _, offset in places],
    }


def _note(copy: Copy, erasure: Erasure) -> str | None:
    if not erasure.data_keys:
        return None
    match copy.holds:
        case Holds.SEALED_EVENTS:
            return f"unreadable at once where it was encrypted; data keys destroyed: {erasure.data_keys}"
        case Holds.WRAPPED_KEYS:
            return "the destroyed data keys, wrapped: until then the master key unwraps a copy of this topic"
        case Holds.PLAIN_EVENTS:
            return None


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
