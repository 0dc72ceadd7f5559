"""What to do about a dead letter, by the code of its failure: the one table of remedies.

The write side makes the codes, the read side and the commands show what stands here. A test holds the table
to every code that can occur.
"""

from collections.abc import Mapping

UNREADABLE_HEADERS = "unreadable_headers"

_EDIT = "`soma dlq replay ID --edit` publishes it corrected, as a new event"
_PRODUCER = f"Correct the producer; {_EDIT}."
_LIMIT = (
    "Correct the producer, or raise the limit that the message names (SOMA_LIMITS__*) for producers, API and "
    f"workers alike, restart them and replay; {_EDIT}."
)

_BY_CODE: Mapping[str, str] = {
    # decode: the bytes
    "null_value": (
        "A record without a value is not an event; MemoryDeleted deletes a memory. Correct the producer, "
        "then discard the dead letter."
    ),
    "unreadable_record": (
        "The record, or the batch that it was compressed in, is many times larger than an event may be, or "
        "has an unknown compression. Correct the producer, then discard the dead letter."
    ),
    "not_wire_format": (
        "The value is not in Confluent's wire format. Use our Avro schemas in the producer; "
        f"{_EDIT}, or discard it."
    ),
    "unknown_schema_id": (
        "The registry has no schema with the id in the event. If the registry was restored or recreated, "
        "restore its schemas with their ids, then replay. If the event comes from another installation, "
        "discard it."
    ),
    "unexpected_record": (
        "The record belongs to another topic or application. Correct the topic of the producer, "
        "then discard the dead letter."
    ),
    "foreign_schema": (
        "The writer's schema is not compatible with any version of ours; the message says why. Use our Avro "
        "schemas in the producer, or a schema without references; "
        f"{_EDIT}, or discard it."
    ),
    "avro": f"The body does not match the schema in the event. {_PRODUCER}",
    "trailing_bytes": f"There are more bytes after the event. {_PRODUCER}",
    "key_mismatch": (
        "The key of the record must be `tenant/memory_id` of the event, or changes would lose their order. "
        f"{_PRODUCER}"
    ),
    "replay_headers": (
        "Its `x-replay-` headers have an impossible position; only a replay may set them. "
        "Remove them from the producer; `soma dlq replay ID --edit` publishes the event without them."
    ),
    # validate: the contract
    "missing_field": _PRODUCER,
    "unknown_field": _PRODUCER,
    "wrong_type": _PRODUCER,
    "not_json": f"The payload has to be a JSON object, as text. {_PRODUCER}",
    "not_finite": f"The stores do not accept NaN and infinity. {_PRODUCER}",
    "out_of_range": _PRODUCER,
    "too_long": _LIMIT,
    "too_deep": f"The payload is nested too deep. {_PRODUCER}",
    "too_many": _LIMIT,
    "empty": _PRODUCER,
    "invalid_character": f"The stores do not accept NUL characters and unpaired surrogates. {_PRODUCER}",
    "invalid_tenant": _PRODUCER,
    "invalid_namespace": f"Encode `/` and `%` within a segment as `%2F` and `%25`. {_PRODUCER}",
    "identity_mismatch": (
        "The memory_id must be the one derived from the key or the coordinate; see the test vectors in "
        f"`schemas/vectors/identity.json`. Correct the producer; {_EDIT} and derives the id."
    ),
    "key_and_coordinate": f"A memory has a key or a coordinate, not both. {_PRODUCER}",
    "invalid_time": f"Times are RFC 3339 with an offset from UTC. {_PRODUCER}",
    "invalid_patch": f"`fields` has to name exactly the fields that have values. {_PRODUCER}",
    "invalid_value": _PRODUCER,
    # write: the stores
    "poison": (
        "The change would make the memory too large. Raise SOMA_LIMITS__PAYLOAD_BYTES, "
        f"restart the workers and replay; {_EDIT} and smaller, or discard it."
    ),
    "embedding_dimensions": (
        "The embedding has the model of the collection, but other dimensions. Correct the producer, or do "
        f"not send an embedding; {_EDIT}."
    ),
    "embedding_refused": (
        "The embedder rejects the text, usually because it is too long for the model. Use another model "
        f"and replay, or shorten the text; {_EDIT}."
    ),
    "unindexable": f"The vector index cannot store the vector or the point. {_PRODUCER}",
    "refused": (
        "The store rejected the event without a reason. See the log of the worker at that time. Fix the "
        "cause and replay, or discard it."
    ),
    UNREADABLE_HEADERS: (
        "The record is not a dead letter of ours, or its headers are damaged, so it cannot be replayed. "
        "Look at it with `soma dlq show`, find out who writes to the dead-letter topic, then discard it."
    ),
}

# Codes that carry a store's own code; the longest beginning that fits counts.
_BY_BEGINNING: Mapping[str, str] = {
    "sqlstate_22": f"PostgreSQL cannot store a value of the event. {_PRODUCER}",
    "sqlstate_23": (
        "A constraint of the database rejects the row; the message names it. If the constraint is a fault "
        f"of an update, update again and replay. Otherwise correct the producer; {_EDIT}."
    ),
    "sqlstate_54": f"The event is too large for the database: a key, a tag or a payload. {_PRODUCER}",
    "http_": (
        "The vector index rejects the point. If its configuration changed, fix that and replay. Otherwise "
        f"{_EDIT}, or discard it."
    ),
}

_UNKNOWN = (
    "This version does not know the code. See the message, or use the version that wrote the dead letter. "
    "Fix the cause and replay, or discard it."
)


def remedy_of(code: str) -> str:
    """Return what an operator can do about a dead letter with this code, also one of another version."""
    kind = _kind_of(code)
    return _UNKNOWN if kind is None else (_BY_CODE.get(kind) or _BY_BEGINNING[kind])


def knows(code: str) -> bool:
    """Say whether this version knows the code."""
    return _kind_of(code) is not None


def kind_of(code: str) -> str:
    """Return the code, or what many codes of a store have in common; of these there is a bounded number."""
    return (_kind_of(code) or "unknown").rstrip("_")


def _kind_of(code: str) -> str | None:
    if code in _BY_CODE:
        return code
    return max((each for each in _BY_BEGINNING if code.startswith(each)), key=len, default=None)
