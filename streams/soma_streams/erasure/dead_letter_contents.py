"""Which dead letters hold something of what is erased: by their bytes, whether or not they can be read."""

import json

from soma_schemas.dead_letters import Stage
from soma_schemas.events import ErasureScope

_SEVEN_BITS = 0x7F


def holds(value: bytes | None, stage: str | None, scope: ErasureScope, selector: str) -> bool:
    """Say whether the value of a dead letter names this subject or a namespace of this one.

    In what was decoded once a string stands after its length, so that a name is not found inside of a longer
    text. What never was decoded may be anything: it is searched for the bare name, as text and as JSON.

    Args:
        value: As the dead-letter topic has it.
        stage: Where it failed; None when the letter does not say.
        scope: SUBJECT or NAMESPACE.
        selector: The subject or the namespace.
    """
    if value is None:
        return False
    name = selector.encode()
    if stage is None or stage == Stage.DECODE:
        return name in value or json.dumps(selector)[1:-1].encode() in value
    below = name + b"/"
    return _length(name) + name in value or (scope is ErasureScope.NAMESPACE and below in value)


def _length(name: bytes) -> bytes:
    """Return a length as Avro writes it before a string."""
    number = len(name) << 1
    written = bytearray()
    while number > _SEVEN_BITS:
        written.append(number & _SEVEN_BITS | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
