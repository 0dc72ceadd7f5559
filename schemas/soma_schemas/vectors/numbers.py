"""Numbers of fields of any name, kept so that two integer indexes answer every range.

A number becomes 64 bits that sort as the number does. The upper and the lower half each go into an index that
all fields share, behind a code of the field's name, so that the numbers of one field lie together. A term
says that a code is this field's alone within the point.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from soma_schemas.vectors.terms import short_term

# Engines compare integers as float64: a code and half a number fill its 53 bits.
_CODE_BITS = 21
_HALF = 1 << 32
_SIGN = 1 << 63

# Two fields of one point that share a code: the second takes its next one. 256 fields run out of codes in one
# of a million million payloads; ranges then do not find the field that did.
_CODES = 3


@dataclass(frozen=True, slots=True)
class Span:
    """Some of the numbers that one code of a field covers: halves from the first to the last of each."""

    highs: tuple[int, int]
    lows: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class EncodedNumbers:
    """What a point holds of its numbers."""

    marks: Sequence[str]
    highs: Sequence[int]
    lows: Sequence[int]


def encoded(numbers: Iterable[tuple[str, float]]) -> EncodedNumbers:
    """Return finite numbers, with the names of their fields, as a point holds them.

    Of one name, as many are kept as a field has codes.
    """
    marks, highs, lows = [], [], []
    taken: set[int] = set()
    for name, number in numbers:
        for attempt in range(_CODES):
            code, mark = _place(short_term(name), attempt)
            if code not in taken:
                taken.add(code)
                high, low = divmod(_ordered(number), _HALF)
                marks.append(mark)
                highs.append(code + high)
                lows.append(code + low)
                break
    return EncodedNumbers(marks, highs, lows)


def spans(
    name: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Iterator[tuple[str, list[Span]]]:
    """Yield for each code that a field can have its mark, and spans of which a number in the range has one.

    No spans: no number is in the range.
    """
    start = max(
        0 if at_least is None else _ordered(at_least),
        0 if above is None else _ordered(above) + 1,
    )
    end = min(
        _HALF * _HALF if at_most is None else _ordered(at_most) + 1,
        _HALF * _HALF if below is None else _ordered(below),
    )
    for attempt in range(_CODES):
        code, mark = _place(short_term(name), attempt)
        yield mark, [Span((code + a, code + b), c) for (a, b), c in _halves(start, end, code)]


def _halves(start: int, end: int, code: int) -> Iterator[tuple[tuple[int, int], tuple[int, int] | None]]:
    """Yield the upper halves of what lies in [start, end), with lower halves where not all are in it."""
    if start >= end:
        return
    (first, first_low), (last, last_low) = divmod(start, _HALF), divmod(end, _HALF)
    if first == last:
        yield (first, first), (code + first_low, code + last_low - 1)
        return
    whole = first + 1 if first_low else first
    if whole < last:
        yield (whole, last - 1), None
    if first_low:
        yield (first, first), (code + first_low, code + _HALF - 1)
    if last_low:
        yield (last, last), (code, code + last_low - 1)


# A process meets the same names again and again; these are short.
@lru_cache(4096)
def _place(name: str, attempt: int) -> tuple[int, str]:
    """Return a code of a field, and the term that says: here this code is the field's own.

    No value's spelling ends in `#`.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8, salt=bytes([attempt])).digest()
    return (int.from_bytes(digest) & ((1 << _CODE_BITS) - 1)) * _HALF, f"{name}={attempt}#"


def _ordered(number: float) -> int:
    """Return 64 bits that compare as float64 does."""
    bits = int.from_bytes(struct.pack(">d", number + 0.0))  # with 0.0 added, -0.0 is 0.0
    return bits ^ (2 * _SIGN - 1) if bits & _SIGN else bits | _SIGN
