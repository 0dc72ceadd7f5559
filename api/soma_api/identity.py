"""Ids derived from an idempotency key, so that a retry makes the same events about the same memories."""

from hashlib import sha256
from uuid import UUID, uuid5

_TIMED = 7


def event_id_of_item(idempotency_key: UUID, index: int) -> UUID:
    """Return the event id of one item of a batch."""
    return uuid5(idempotency_key, str(index))


def memory_id_of_event(event_id: UUID) -> UUID:
    """Return the id of a memory that has neither key nor coordinate, given the event that first stores it.

    A retry with the same event id then stores the same memory, where a random id would make a second one.
    The id of a UUIDv7 event keeps its time, so that memories of one moment sort together; any other gives a
    UUIDv8.
    """
    digest = sha256(b"memory of event" + event_id.bytes).digest()[:16]
    timed = event_id.version == _TIMED
    value = bytearray((event_id.bytes[:6] if timed else digest[:6]) + digest[6:])
    value[6] = (0x70 if timed else 0x80) | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    return UUID(bytes=bytes(value))
