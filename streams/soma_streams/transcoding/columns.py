"""What a row consists of: which field of a record goes into which type of column."""

from dataclasses import dataclass
from enum import StrEnum

from soma_streams.errors import StreamsError


class UnsupportedSchemaError(StreamsError):
    """A schema and the columns do not fit: a field is missing, or its type cannot become the column's."""

    code = "unsupported_schema"
    remedy = "Decode records of this schema value by value."


class ColumnType(StrEnum):
    """A column's type, as PostgreSQL spells it, and what of Avro can become it."""

    TEXT = "text"
    """A string or an enum."""
    UUID = "uuid"
    """A string in the canonical form of 36 characters."""
    BIGINT = "bigint"
    """An int or a long."""
    DOUBLE = "double precision"
    """A double."""
    BOOLEAN = "boolean"
    """A boolean."""
    TIMESTAMPTZ = "timestamptz"
    """A long of logical type timestamp-micros, in the years 1 to 9999."""
    JSONB = "jsonb"
    """A string that holds JSON; whether it does, PostgreSQL says."""
    TEXT_ARRAY = "text[]"
    """An array of strings."""
    DOUBLE_ARRAY = "double precision[]"
    """An array of doubles."""
    REAL_ARRAY = "real[]"
    """An array of floats."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column that takes a field of the record.

    Attributes:
        field: The field's name; it may be a union of null and one type, null becoming NULL.
        type: The column's type.
    """

    field: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Given:
    """A `bigint` that the record does not hold, such as its place in a log: the caller gives one for each."""


AnyColumn = Column | Given
