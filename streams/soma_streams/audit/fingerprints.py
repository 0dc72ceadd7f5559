"""Points as short digests, and sums of digests by the beginning of their ids: pure.

A row says which point it should have, so both stores are summed over the same ids. What is written in two
ways that mean the same, as the names of a JSON object in another order, has one digest.
"""

import base64
import json
import struct
from array import array
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from soma_schemas.vectors.payload import DOCUMENT, EMBEDDING, LABELS, NUMBER_HIGHS, NUMBER_LOWS

_BITS = 16
_SHIFT = 128 - _BITS
_DIGEST_BYTES = 8
_UNORDERED = (NUMBER_HIGHS, NUMBER_LOWS)


class Buckets:
    """Sums of digests, as many for a hundred points as for a hundred million."""

    def __init__(self) -> None:
        self._sums = array("Q", bytes(_DIGEST_BYTES << _BITS))

    def toggle(self, place: UUID, digest: bytes) -> None:
        """Put a point in; one that is put in a second time, by the other store, is out again."""
        self._sums[bucket_of(place)] ^= int.from_bytes(digest)

    def differing(self) -> frozenset[int]:
        """Return the buckets in which the stores differ."""
        return frozenset(number for number, left in enumerate(self._sums) if left)


def bucket_of(place: UUID) -> int:
    """Return the bucket of a point: the beginning of its id."""
    return place.int >> _SHIFT


def first_of(bucket: int) -> UUID:
    """Return the first id that a bucket can have."""
    return UUID(int=bucket << _SHIFT)


def digest(place: UUID, said: object, vectors: Iterable[str]) -> bytes:
    """Return the digest of a point.

    Args:
        place: Its id.
        said: Its payload, as `canonical` returns it.
        vectors: The names of its vectors.
    """
    whole = orjson.dumps([place, said, sorted(vectors)], option=orjson.OPT_SORT_KEYS)
    return blake2b(whole, digest_size=_DIGEST_BYTES).digest()


def canonical(payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a payload says, each thing in one spelling; None when it is no payload of ours."""
    try:
        said: dict[str, Any] = {name: _number(value) for name, value in payload.items()}
        said[DOCUMENT] = _document(said[DOCUMENT])
        if LABELS in said:
            said[LABELS] = sorted(said[LABELS].split())
        for name in _UNORDERED:
            if name in said:
                said[name] = sorted(said[name])
        if EMBEDDING in said:
            said[EMBEDDING] = _single_precision(said[EMBEDDING])
    except (AttributeError, KeyError, TypeError, ValueError, struct.error):
        return None
    return said


def _document(text: str) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(text)
    if document["content"] is not None:
        content = {name: value for name, value in document["content"].items() if value is not None}
        if content["payload"] != "{}":
            # PostgreSQL spells numbers and orders names in its own way.
            loaded = json.loads(content["payload"], parse_int=_plain, parse_float=_plain)
            content["payload"] = json.dumps(loaded, sort_keys=True)
        document["content"] = content
    return document


def _number(value: object) -> object:
    # Engines give 1.0 back as 1, and -0.0 as 0.
    return float(value) + 0.0 if isinstance(value, int | float) else value


def _plain(number: str) -> float:
    return float(number) + 0.0


def _single_precision(packed: str) -> str:
    data = base64.b64decode(packed, validate=True)
    numbers = struct.unpack(f"<{len(data) // 8}d", data)
    return struct.pack(f"<{len(numbers)}f", *numbers).hex()
