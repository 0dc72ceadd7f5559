"""How a memory gets its id: from its key, from its coordinate, or anew.

The test vectors in `schemas/vectors/identity.json` hold implementations in other languages to the same rule.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from uuid import UUID, SafeUUID

# uuid5(NAMESPACE_URL, "https://somafractalmemory.example/memory"), fixed for ever.
MEMORY_NAMESPACE = UUID("d38f81e9-2cce-50c7-b481-ac6c6388e821")

_READ_AHEAD = 512  # numbers: 4 KiB
_SAFETY = SafeUUID.unknown
_SEPARATOR = "\x1f"  # no tenant and no namespace can hold it, and a key stands last

_new = object.__new__
_set = object.__setattr__


def memory_id_for_key(tenant: str, namespace: str, key: str) -> UUID:
    """Return the id of the memory that has this key within its tenant and namespace."""
    return _named(_SEPARATOR.join((tenant, namespace, "key", key)))


def memory_id_for_coordinate(tenant: str, namespace: str, coordinate: Sequence[float]) -> UUID:
    """Return the id of the memory that lies at this coordinate within its tenant and namespace."""
    return _named(_SEPARATOR.join((tenant, namespace, "coordinate", canonical_coordinate(coordinate))))


def canonical_coordinate(coordinate: Sequence[float]) -> str:
    """Return the one spelling of a coordinate: each number as the hex of its big-endian IEEE 754 double.

    Digits of a decimal spelling differ between languages, bits do not. Minus zero counts as zero.
    """
    return ",".join(struct.pack(">d", number + 0.0).hex() for number in coordinate)


def identified(
    tenant: str, namespace: str, key: str | None, coordinate: Sequence[float] | None
) -> UUID | None:
    """Return the id that a key or a coordinate gives, or None when there is neither.

    One that breaks the contract gives none either: what is wrong with it is for validation to say.
    """
    try:
        if key is not None:
            return memory_id_for_key(tenant, namespace, key)
        if coordinate is not None:
            return memory_id_for_coordinate(tenant, namespace, coordinate)
    except (OverflowError, TypeError, ValueError):  # such as half a surrogate pair, or too large a number
        return None
    return None


class RandomNumbers:
    """Random numbers of 64 bits, read from their source many at a time. Thread-safe; a fork begins anew.

    Args:
        source: Returns so many random bytes.
    """

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._numbers: list[int] = []
        # Two processes with the same numbers would make the same ids.
        os.register_at_fork(after_in_child=self._numbers.clear)

    def next(self) -> int:
        """Return a number that was not returned before."""
        while True:
            try:
                # One step for the interpreter: no two threads get the same number.
                return self._numbers.pop()
            except IndexError:
                self._numbers.extend(struct.unpack(f"{_READ_AHEAD}Q", self._source(8 * _READ_AHEAD)))


_SYSTEM_RANDOM = RandomNumbers()


def new_id(now: datetime, random: RandomNumbers = _SYSTEM_RANDOM) -> UUID:
    """Return a fresh UUIDv7 (RFC 9562 section 5.7): ids of one moment sort together.

    Args:
        now: The time that goes into its first 48 bits, in milliseconds.
        random: Gives the others.
    """
    milliseconds = int(now.timestamp() * 1000)
    value = (
        (milliseconds & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (random.next() & 0xFFF) << 64
        | 0b10 << 62
        | random.next() & 0x3FFF_FFFF_FFFF_FFFF
    )
    return uuid_of(value)


def uuid_of(number: int) -> UUID:
    """Return the id that this number of 128 bits is, at a quarter of what `UUID` takes."""
    made = _new(UUID)
    _set(made, "int", number)
    _set(made, "is_safe", _SAFETY)
    return made


# Who makes an event asks just before the event's own check does.
@lru_cache(16)
def _named(name: str) -> UUID:
    return named_uuid(MEMORY_NAMESPACE, name)


def named_uuid(namespace: UUID, name: str) -> UUID:
    """Return the UUIDv5 of a name, as `uuid.uuid5` does in twice the time."""
    digest = hashlib.sha1(namespace.bytes + name.encode(), usedforsecurity=False).digest()
    return UUID(bytes=digest[:16], version=5)
