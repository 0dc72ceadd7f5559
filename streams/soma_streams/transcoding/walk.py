"""Find the fields of many Avro records at once: one step per field and batch, not one per field and record.

Avro says where a field begins only once the one before it has been read, so records are walked side by side:
a vector of positions moves from field to field. Positions only ever grow, so whatever a broken record makes a
step do, it shows at the end: the record's position is not the record's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]

# As much as is ever read at once, so that reading at the end of the last record needs no look before.
_PADDING = 64
_CONTINUES = 128
_LAST_SHIFT = 63
# An array with more strings than this is walked on its own: side by side, one long one would hold up all.
_ITEMS_SIDE_BY_SIDE = 12


@dataclass(frozen=True, slots=True)
class Items:
    """Where the strings of arrays are, found side by side.

    Attributes:
        count: Of each record's strings.
        found: In which records that is all there is to know; the others are to be read one by one.
        steps: For the first string, the second and so on: which records have one, where it is, its size.
    """

    count: Positions
    found: Mask
    steps: Sequence[tuple[Positions, Positions, Positions]]


@dataclass(frozen=True, slots=True)
class Spans:
    """Where a field's bytes are in each record.

    Attributes:
        begin: Of the content: of a string without its length, of an array with its counts.
        size: In bytes; 0 where the field is null.
        null: Where it is; None where it cannot be.
        items: Of arrays of strings.
    """

    begin: Positions
    size: Positions
    null: Mask | None = None
    items: Items | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """A field's number in each record; see `Spans` for `null`."""

    values: Positions
    null: Mask | None = None


class Walk:
    """Walks records that lie one after the other.

    Attributes:
        data: All values, one after the other, with zeros behind.
        octets: The same as numbers.
        sound: Which records have not been found broken.

    Args:
        values: Records, each behind `skip` bytes.
        skip: Bytes before each record.
    """

    def __init__(self, values: Sequence[bytes], skip: int) -> None:
        self.data = b"".join((*values, bytes(_PADDING)))
        self.octets = np.frombuffer(self.data, np.uint8)
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        self._ends = np.cumsum(sizes)
        self._at = self._ends - sizes + skip
        self.sound: Mask = sizes >= skip
        self._pieces: dict[int, tuple[Spans, list[bytes]]] = {}
        # Behind everything, where no record ends: who gets there is broken, and stays there.
        self._lost = len(self.data) - _PADDING + 1

    def end(self) -> None:
        """Find those broken that did not end where their value ends."""
        self.refuse(self._at != self._ends)

    def refuse(self, broken: Mask) -> None:
        """Take note of broken records."""
        self.sound &= ~broken

    def numbers(self) -> Numbers:
        """Read ints, longs, or the places of enums' symbols."""
        values, self._at = self._number(self._at)
        return Numbers(values)

    def strings(self) -> Spans:
        """Read strings or bytes."""
        size, begin = self._length(self._at)
        self._at = self._bounded(begin + size)
        return Spans(begin, size)

    def fixed(self, size: int) -> Spans:
        """Read values of so many bytes."""
        begin = self._at
        self._at = self._bounded(begin + size)
        return Spans(begin, np.full(len(begin), size))

    def arrays(self, width: int | None) -> Spans:
        """Read arrays of items of so many bytes; without a width, of strings."""
        begin = self._at
        count, at = self._number(begin)
        steps: list[tuple[Positions, Positions, Positions]] = []
        if width is None:
            usual = (count >= 0) & (count <= _ITEMS_SIDE_BY_SIDE)
            at, steps = self._items(at, np.where(usual, count, 0))
        else:
            usual = count >= 0
            at = self._bounded(at + np.clip(count, 0, self._lost) * width)
        following, behind = self._number(at)
        at = np.where(count == 0, at, behind)
        usual &= (count == 0) | (following == 0)
        for row in np.flatnonzero(~usual).tolist():
            at[row] = self._array_of_one(int(begin[row]), width, int(self._ends[row]))
        self._at = at
        return Spans(begin, at - begin, items=Items(count, usual, steps))

    def nulls(self, null_branch: int) -> Mask:
        """Read which branch of a union of two follows: null, or the other."""
        branch, self._at = self._number(self._at)
        self.refuse((branch != 0) & (branch != 1))
        null: Mask = branch == null_branch
        return null

    def pass_over(self, null: Mask, before: Positions) -> None:
        """Set records back to where they were before a value that they do not have."""
        self._at = np.where(null, before, self._at)

    def pieces(self, spans: Spans) -> list[bytes]:
        """Return a field's bytes in each record; nothing where it is null. Cut once, so not to be changed."""
        # Held together with the spans, so that nothing else can have their id.
        known = self._pieces.get(id(spans))
        if known is None:
            known = self._pieces[id(spans)] = (spans, self.cut(spans.begin, spans.size))
        return known[1]

    def cut(self, begin: Positions, size: Positions) -> list[bytes]:
        """Return bytes from these places on."""
        data, ends = self.data, (begin + size).tolist()
        return [data[start:end] for start, end in zip(begin.tolist(), ends, strict=True)]

    @property
    def at(self) -> Positions:
        """Where the walk is in each record."""
        return self._at

    def _bounded(self, at: Positions) -> Positions:
        return np.minimum(at, self._lost)

    def _number(self, at: Positions) -> tuple[Positions, Positions]:
        octet = self.octets[at]
        raw = (octet & 127).astype(np.uint64)
        at = at + 1
        rows = np.flatnonzero(octet >= _CONTINUES)
        shift = 7
        while len(rows) and shift <= _LAST_SHIFT:
            octet = self.octets[self._bounded(at[rows])]
            raw[rows] |= (octet & 127).astype(np.uint64) << np.uint64(shift)
            at[rows] += 1
            if shift == _LAST_SHIFT:
                # The tenth byte holds the last bit of 64, and nothing follows it.
                at[rows[octet > 1]] = self._lost
            rows = rows[octet >= _CONTINUES]
            shift += 7
        values = (raw >> np.uint64(1)).astype(np.int64) ^ -(raw & np.uint64(1)).astype(np.int64)
        return values, self._bounded(at)

    def _length(self, at: Positions) -> tuple[Positions, Positions]:
        size, begin = self._number(at)
        begin = np.where(size < 0, self._lost, begin)
        return np.clip(size, 0, self._lost), begin

    def _items(
        self, at: Positions, count: Positions
    ) -> tuple[Positions, list[tuple[Positions, Positions, Positions]]]:
        """Pass over so many strings in each record."""
        at = at.copy()
        rows = np.flatnonzero(count > 0)
        steps = []
        while len(rows):
            size, begin = self._length(at[rows])
            at[rows] = self._bounded(begin + size)
            steps.append((rows, begin, size))
            rows = rows[count[rows] > len(steps)]
        return at, steps

    def _array_of_one(self, at: int, width: int | None, end: int) -> int:
        """Pass over an array that is not one short block."""
        try:
            count, at = zigzag(self.data, at)
            while count and at < end:
                if count < 0:
                    _, at = zigzag(self.data, at)  # the size of the block in bytes
                    count = -count
                while width is None and count and at < end:
                    size, at = zigzag(self.data, at)
                    at = at + size if size >= 0 else self._lost
                    count -= 1
                at += count * (width or 1)
                count, at = zigzag(self.data, at)
        except IndexError:
            return self._lost
        return min(at, self._lost)


def zigzag(data: bytes, at: int) -> tuple[int, int]:
    """Read one number, and say where it ended.

    Raises:
        IndexError: The data ends, or the number does not.
    """
    result = 0
    for shift in range(0, _LAST_SHIFT + 1, 7):
        octet = data[at]
        at += 1
        result |= (octet & 127) << shift
        if octet < _CONTINUES:
            return (result >> 1) ^ -(result & 1), at
    raise IndexError
