"""Write values of a row type, in PostgreSQL's binary form, from fields that are columns."""

import struct
from collections.abc import Sequence

import numpy as np

from .fields import NULL, Block, big_endian, joined, same

_LENGTH = struct.Struct(">i")
_OID = struct.Struct(">I")


def constant(content: bytes, rows: int) -> list[Block]:
    """Return a field that is the same in every row."""
    return [same(_LENGTH.pack(len(content)) + content, rows)]


def pieces(contents: list[bytes], before: bytes = b"") -> list[Block]:
    """Return fields that are given one by one, each behind `before`."""
    sizes = np.fromiter(map(len, contents), np.int64, len(contents)) + len(before)
    lengths: list[Block] = [big_endian(sizes, ">i4")]
    return [*lengths, same(before, len(contents)), contents] if before else [*lengths, contents]


def nulls(rows: int) -> list[Block]:
    """Return a field that is NULL in every row."""
    return [same(NULL, rows)]


def composites(columns: Sequence[tuple[int, Sequence[Block]]], rows: int) -> bytes:
    """Return values of a row type as elements of an array.

    Args:
        columns: The number of each field's type, and the field.
        rows: How many values.
    """
    blocks: list[Block] = [same(_LENGTH.pack(len(columns)), rows)]
    for oid, field in columns:
        blocks += [same(_OID.pack(oid), rows), *field]
    sizes = np.zeros(rows, np.int64)
    for block in blocks:
        sizes += np.fromiter(map(len, block), np.int64, rows) if isinstance(block, list) else block.shape[1]
    return joined([big_endian(sizes, ">i4"), *blocks], rows)
