"""Write the columns of rows in PostgreSQL's binary form, column by column.

A column is blocks of the same size for every row, as a matrix of bytes, or a piece of its own for each row.
"""

import struct
from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from psycopg.postgres import types

from .walk import Mask, Numbers, Positions, Spans, Walk, zigzag

Octets = NDArray[np.uint8]
Block = Octets | list[bytes]

NULL = b"\xff\xff\xff\xff"

_LENGTH = struct.Struct(">i")
_ARRAY = struct.Struct(">iiiIii")  # size, dimensions, whether nulls, element type, length, lower bound
_EMPTY_ARRAY = struct.Struct(">iiiI")

# PostgreSQL counts microseconds from 2000, Avro from 1970. Outside the years 1 to 9999 are times that no
# datetime holds, and the two numbers that PostgreSQL reads as infinity.
_EPOCH_MICROS = 946_684_800_000_000
_FIRST_MICROS, _LAST_MICROS = -62_135_596_800_000_000, 253_402_300_799_999_999

_UUID_CHARACTERS = 36
_DASHES = (8, 13, 18, 23)
_DIGITS = np.array([place for place in range(_UUID_CHARACTERS) if place not in _DASHES])
_NO_DIGIT = 255
_HEX = np.full(256, _NO_DIGIT, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_LOWER_HEX = _HEX.copy()
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)

_TEXT = types["text"].oid


def texts(walk: Walk, spans: Spans, before: bytes = b"") -> list[Block]:
    """Return strings as they are, each behind `before`."""
    sizes = spans.size + len(before)
    if spans.null is not None:
        sizes[spans.null] = -1
    contents = walk.pieces(spans)
    if before and spans.null is not None:
        contents = [b"" if null else before + each for each, null in zip(contents, spans.null, strict=True)]
        return [big_endian(sizes, ">i4"), contents]
    lengths = big_endian(sizes, ">i4")
    if before:
        lengths = np.hstack([lengths, np.tile(np.frombuffer(before, np.uint8), (len(sizes), 1))])
    return [lengths, contents]


def symbols(walk: Walk, numbers: Numbers, names: Sequence[str]) -> list[Block]:
    """Return the names of an enum's symbols."""
    fields = [_LENGTH.pack(len(name.encode())) + name.encode() for name in names]
    places = numbers.values
    if numbers.null is not None:
        places = np.where(numbers.null, len(fields), places)
        fields.append(NULL)
    wrong = (places < 0) | (places >= len(fields))
    walk.refuse(wrong)
    return [[fields[place] for place in np.where(wrong, 0, places).tolist()]]


def integers(numbers: Numbers) -> list[Block]:
    """Return numbers of 64 bits."""
    return fixed(big_endian(numbers.values, ">i8"), numbers.null)


def timestamps(walk: Walk, numbers: Numbers) -> list[Block]:
    """Return microseconds since 1970 as times."""
    outside = refuse_times(walk, numbers)
    return fixed(big_endian(np.where(outside, 0, numbers.values) - _EPOCH_MICROS, ">i8"), numbers.null)


def refuse_times(walk: Walk, numbers: Numbers) -> Mask:
    """Refuse microseconds since 1970 that are outside of the years 1 to 9999, and return where they are."""
    outside = (numbers.values < _FIRST_MICROS) | (numbers.values > _LAST_MICROS)
    walk.refuse(outside if numbers.null is None else outside & ~numbers.null)
    return outside


def doubles(walk: Walk, spans: Spans) -> list[Block]:
    """Return floating-point numbers."""
    return fixed(_gathered(walk, spans.begin, 8)[:, ::-1], spans.null)


def double_values(walk: Walk, spans: Spans) -> NDArray[np.float64]:
    """Return floating-point numbers as such."""
    return _gathered(walk, spans.begin, 8).view("<f8")[:, 0]


def booleans(walk: Walk, spans: Spans) -> list[Block]:
    """Return bytes that are 0 or 1."""
    octets = _gathered(walk, spans.begin, 1)
    wrong = octets[:, 0] > 1
    walk.refuse(wrong if spans.null is None else wrong & ~spans.null)
    return fixed(octets, spans.null)


def uuids(walk: Walk, spans: Spans) -> list[Block]:
    """Return UUIDs that are written in their canonical form."""
    return fixed(uuid_octets(walk, spans), spans.null)


def uuid_octets(walk: Walk, spans: Spans, *, lower: bool = False) -> Octets:
    """Return the 16 bytes of UUIDs.

    Args:
        walk: Gets those refused that are written in another form.
        spans: Where they are.
        lower: Whether capital letters are another form.
    """
    characters = _gathered(walk, spans.begin, _UUID_CHARACTERS)
    digits = (_LOWER_HEX if lower else _HEX)[characters[:, _DIGITS]]
    wrong = (
        (spans.size != _UUID_CHARACTERS)
        | (characters[:, _DASHES] != ord("-")).any(axis=1)
        | (digits == _NO_DIGIT).any(axis=1)
    )
    walk.refuse(wrong if spans.null is None else wrong & ~spans.null)
    both: Octets = np.bitwise_or(digits[:, 0::2] << 4, digits[:, 1::2], dtype=np.uint8)
    return both


def text_arrays(walk: Walk, spans: Spans) -> list[Block]:
    """Return arrays of strings."""
    items = spans.items
    if items is None:
        raise ValueError("these are no arrays")
    found = items.found if spans.null is None else items.found & ~spans.null
    sizes = np.zeros(len(found), np.int64)
    columns: list[Block] = []
    for rows, begin, size in items.steps:
        kept = found[rows]
        if not kept.any():
            continue
        rows, begin, size = rows[kept], begin[kept], size[kept]  # noqa: PLW2901  # the same without the others
        sizes[rows] += _LENGTH.size + size
        columns.append(_spread(rows, _rows_of(big_endian(size, ">i4")), len(found)))
        columns.append(_spread(rows, walk.cut(begin, size), len(found)))
    heads = np.empty((len(found), 6), ">i4")
    heads[:] = (0, 1, 0, _TEXT, 0, 1)
    heads[:, 0] = 20 + sizes
    heads[:, 4] = items.count
    fields = _rows_of(heads.view(np.uint8))
    for row in np.flatnonzero(~found | (items.count == 0)).tolist():
        if spans.null is not None and spans.null[row]:
            fields[row] = NULL
        else:
            at = int(spans.begin[row])
            fields[row] = _text_array(walk.data[at : at + int(spans.size[row])])
    return [fields, *columns]


def number_arrays(walk: Walk, spans: Spans, width: int) -> list[Block]:
    """Return arrays of floating-point numbers of so many bytes each."""
    return [_pieces(walk, spans, _float_array if width == 4 else _double_array)]  # noqa: PLR2004  # as named


def joined(blocks: Sequence[Block], rows: int) -> bytes:
    """Return all blocks of the first row, then those of the second, and so on."""
    columns: list[list[bytes]] = []
    run: list[Octets] = []
    for block in blocks:
        if isinstance(block, list):
            if run:
                columns.append(_rows_of(np.hstack(run)))
                run = []
            columns.append(block)
        else:
            run.append(block)
    if run:
        columns.append(_rows_of(np.hstack(run)))
    pieces = [b""] * (rows * len(columns))
    for place, column in enumerate(columns):
        pieces[place :: len(columns)] = column
    return b"".join(pieces)


def same(content: bytes, rows: int) -> Octets:
    """Return a block that is the same in every row."""
    return np.tile(np.frombuffer(content, np.uint8), (rows, 1))


def _rows_of(matrix: Octets) -> list[bytes]:
    rows: list[bytes] = np.ascontiguousarray(matrix).view(f"V{matrix.shape[1]}").ravel().tolist()
    return rows


def fixed(content: Octets, null: Mask | None = None) -> list[Block]:
    """Return fields of one size, each behind it; NULL where they are null."""
    rows, width = content.shape
    lengths = same(_LENGTH.pack(width), rows)
    if null is None or not null.any():
        return [lengths, content]
    pieces = _rows_of(np.hstack([lengths, content]))
    for row in np.flatnonzero(null).tolist():
        pieces[row] = NULL
    return [pieces]


def big_endian(values: Positions, form: str) -> Octets:
    """Return the bytes of numbers, the largest first."""
    return values.astype(form).view(np.uint8).reshape(len(values), -1)


def _gathered(walk: Walk, begin: Positions, width: int) -> Octets:
    """Return so many bytes of each field."""
    windows = sliding_window_view(walk.octets, width)
    return windows[np.minimum(begin, len(windows) - 1)]


def _spread(rows: Positions, pieces: list[bytes], count: int) -> list[bytes]:
    """Return a piece for every row: these for some, nothing for the others."""
    if len(rows) == count:
        return pieces
    column = [b""] * count
    for row, piece in zip(rows.tolist(), pieces, strict=True):
        column[row] = piece
    return column


def _pieces(walk: Walk, spans: Spans, field: Callable[[bytes], bytes]) -> list[bytes]:
    pieces = walk.pieces(spans)
    if spans.null is None:
        return [field(piece) for piece in pieces]
    return [NULL if null else field(piece) for piece, null in zip(pieces, spans.null.tolist(), strict=True)]


def _text_array(content: bytes) -> bytes:
    items: list[bytes] = []
    count, at = _block(content, 0)
    while count:
        for _ in range(count):
            size, at = zigzag(content, at)
            items += (_LENGTH.pack(size), content[at : at + size])
            at += size
        count, at = _block(content, at)
    return _array_field(_TEXT, len(items) // 2, b"".join(items))


def _float_array(content: bytes) -> bytes:
    return _number_array(content, types["float4"].oid, 4)


def _double_array(content: bytes) -> bytes:
    return _number_array(content, types["float8"].oid, 8)


def _number_array(content: bytes, oid: int, width: int) -> bytes:
    items = []
    total = 0
    count, at = _block(content, 0)
    while count:
        items.append(np.frombuffer(content, np.uint8, count * width, at).reshape(count, width))
        total += count
        at += count * width
        count, at = _block(content, at)
    if not items:
        return _array_field(oid, 0, b"")
    numbers = np.vstack(items)[:, ::-1]
    return _array_field(oid, total, np.hstack([same(_LENGTH.pack(width), total), numbers]).tobytes())


def _array_field(oid: int, count: int, items: bytes) -> bytes:
    if not count:
        return _EMPTY_ARRAY.pack(12, 0, 0, oid)
    return _ARRAY.pack(20 + len(items), 1, 0, oid, count, 1) + items


def _block(content: bytes, at: int) -> tuple[int, int]:
    """Read how many items of an array follow."""
    count, at = zigzag(content, at)
    if count < 0:
        _, at = zigzag(content, at)  # the size of the block in bytes
    return abs(count), at
