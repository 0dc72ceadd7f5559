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
        "A record without a value says nothing here: memories end by MemoryDeleted. Correct the producer, "
        "then discard the dead letter."
    ),
    "unreadable_record": (
        "The record, or what was compressed together with it, is many times larger than an event may be, or "
        "is compressed in a way that nobody else uses. Correct the producer, then discard the dead letter."
    ),
    "not_wire_format": (
        "The producer wrote other bytes than Confluent's wire format. Have it use our Avro schemas; "
        f"{_EDIT}, or discard it."
    ),
    "unknown_schema_id": (
        "The registry has no schema under the id that the event names. If the registry was restored or made "
        "anew, give it back its schemas and their ids, then replay; if the event comes from another "
        "installation, discard it."
    ),
    "unexpected_record": (
        "It is a record of another topic, or of somebody else. Have the producer write it where it belongs, "
        "then discard the dead letter."
    ),
    "foreign_schema": (
        "It was written under a schema that is no version of ours and is not read with; the message says "
        "why. Have the producer use our Avro schemas, or write out in its own what that refers to; "
        f"{_EDIT}, or discard it."
    ),
    "avro": f"The body was not written with the schema that it names. {_PRODUCER}",
    "trailing_bytes": f"More bytes follow the event: the producer appends something. {_PRODUCER}",
    "key_mismatch": (
        "The record's key has to be `tenant/memory_id` of the event, or its changes would lose their order. "
        f"{_PRODUCER}"
    ),
    "replay_headers": (
        "Its `x-replay-` headers claim a place in the log that it cannot have; only a replay sets them. "
        "Have the producer leave them out; `soma dlq replay ID --edit` publishes the event without them."
    ),
    # validate: the contract
    "missing_field": _PRODUCER,
    "unknown_field": _PRODUCER,
    "wrong_type": _PRODUCER,
    "not_json": f"The payload has to be a JSON object, as text. {_PRODUCER}",
    "not_finite": f"NaN and infinity have no place in either store. {_PRODUCER}",
    "out_of_range": _PRODUCER,
    "too_long": _LIMIT,
    "too_deep": f"The payload nests too deep. {_PRODUCER}",
    "too_many": _LIMIT,
    "empty": _PRODUCER,
    "invalid_character": f"Neither store holds NUL characters and halves of surrogate pairs. {_PRODUCER}",
    "invalid_tenant": _PRODUCER,
    "invalid_namespace": f"Encode `/` and `%` within a segment as `%2F` and `%25`. {_PRODUCER}",
    "identity_mismatch": (
        "The memory_id has to be the one that key or coordinate give: `schemas/vectors/identity.json` tests "
        f"that. Correct the producer; {_EDIT} and works the id out."
    ),
    "key_and_coordinate": f"A memory has a key or a coordinate, not both. {_PRODUCER}",
    "invalid_time": f"Times are RFC 3339 with an offset from UTC. {_PRODUCER}",
    "invalid_patch": f"`fields` has to name exactly the fields that have values. {_PRODUCER}",
    "invalid_value": _PRODUCER,
    # write: the stores
    "poison": (
        "With this change the memory would be larger than a memory may be. Raise SOMA_LIMITS__PAYLOAD_BYTES, "
        f"restart the workers and replay; {_EDIT} and smaller, or discard it."
    ),
    "embedding_dimensions": (
        "The embedding names the collection's model and has not its size. Correct the producer, or have it "
        f"send none; {_EDIT}."
    ),
    "embedding_refused": (
        "The embedder does not take the text, mostly because it is too long for its model. Use a model that "
        f"takes it and replay, or shorten the text; {_EDIT}."
    ),
    "unindexable": f"The vector index cannot keep the vector or the point. {_PRODUCER}",
    "refused": (
        "The store refused the event and gave no reason. See the worker's log at that time, mend the cause "
        "and replay, or discard it."
    ),
    UNREADABLE_HEADERS: (
        "This record is no dead letter of ours, or its headers were damaged, so it cannot be replayed. "
        "Look at it with `soma dlq show`, find out who writes to the dead-letter topic, then discard it."
    ),
}

# Codes that carry a store's own code; the longest beginning that fits counts.
_BY_BEGINNING: Mapping[str, str] = {
    "sqlstate_22": f"PostgreSQL cannot keep a value of the event. {_PRODUCER}",
    "sqlstate_23": (
        "A constraint of the database refuses the row; the message names it. If an update of ours came with "
        f"a wrong constraint, update again and replay; else correct the producer; {_EDIT}."
    ),
    "sqlstate_54": f"The event is too large for the database: a key, a tag or a payload. {_PRODUCER}",
    "http_": (
        "The vector index refuses the point for good. If its configuration changed, mend that and replay; "
        f"else {_EDIT}, or discard it."
    ),
}

_UNKNOWN = (
    "This version does not know the code: see the message, or ask the version that wrote the dead letter. "
    "Mend the cause and replay, or discard it."
)


def remedy_of(code: str) -> str:
    """Return what an operator can do about a dead letter with this code, also one of another version."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    fitting = [beginning for beginning in _BY_BEGINNING if code.startswith(beginning)]
    return _BY_BEGINNING[max(fitting, key=len)] if fitting else _UNKNOWN


def knows(code: str) -> bool:
    """Say whether this version knows the code."""
    return remedy_of(code) != _UNKNOWN
