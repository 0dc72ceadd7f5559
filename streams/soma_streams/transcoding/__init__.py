"""Avro records to rows of PostgreSQL's binary COPY, without an object per field in between.

It knows schemas and column types, and nothing of what the records mean.
"""

from .child import TranscoderEndedError, TranscodingProcess
from .columns import Column, ColumnType, Given, UnsupportedSchemaError
from .rows import COPY_BEGIN, COPY_END, Rows, RowTranscoder

__all__ = [
    "COPY_BEGIN",
    "COPY_END",
    "Column",
    "ColumnType",
    "Given",
    "RowTranscoder",
    "Rows",
    "TranscoderEndedError",
    "TranscodingProcess",
    "UnsupportedSchemaError",
]
