"""How values that psycopg does not know as we have them become fields of a row."""

import struct
from collections.abc import Sequence
from itertools import chain, repeat

from psycopg.adapt import Dumper
from psycopg.errors import NumericValueOutOfRange
from psycopg.postgres import types
from psycopg.pq import Format

_REAL = types["float4"]
_REAL_BYTES = 4
_ARRAY_HEADER = struct.Struct(">iiIii")  # dimensions, whether nulls, element type, length, lower bound


class EmbeddingDumper(Dumper):
    """Floats as `real[]`, an order of magnitude faster than one by one.

    What is too small for single precision becomes zero, as it does in the vector engine.
    """

    format = Format.BINARY
    oid = _REAL.array_oid

    def dump(self, obj: Sequence[float]) -> bytes:
        """Return the field.

        Raises:
            NumericValueOutOfRange: A number is too large for single precision.
        """
        size = len(obj)
        header = _ARRAY_HEADER.pack(1, 0, _REAL.oid, size, 1)
        try:
            return header + struct.pack(
                f">{'if' * size}", *chain.from_iterable(zip(repeat(_REAL_BYTES), obj))
            )
        except OverflowError as error:
            raise NumericValueOutOfRange("an embedding holds a number beyond single precision") from error


class JsonTextDumper(Dumper):
    """JSON that is text already as `jsonb`, without parsing it here."""

    format = Format.BINARY
    oid = types["jsonb"].oid

    def dump(self, obj: str | bytes) -> bytes:
        """Return the field."""
        return b"\x01" + (obj if isinstance(obj, bytes) else obj.encode())
