"""Rows in binary, as an adapter that looks at every value would send them."""

from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.pq import Format
from psycopg.types.composite import CompositeInfo, register_composite

from soma_streams.sinks.binary_encoding import encode_rows, encode_texts, encode_uuids, row_encoder
from soma_streams.sinks.sessions import (
    Boolean,
    Double,
    DoubleArray,
    Integer,
    Json,
    Moment,
    RealArray,
    Text,
    TextArray,
    Uuid,
    UuidArray,
)

ROW_OID = 77_001
ARRAY_OID = 77_002


class Wide(NamedTuple):
    """A row with every type."""

    text: Text
    uuid: Uuid
    integer: Integer
    boolean: Boolean
    double: Double
    moment: Moment
    texts: TextArray
    uuids: UuidArray
    doubles: DoubleArray
    maybe_moment: Moment | None = None
    maybe_text: Text | None = None
    maybe_integer: Integer | None = None
    maybe_texts: TextArray | None = None


class Narrow(NamedTuple):
    """A row with the types that an adapter has other ideas of."""

    reals: RealArray | None
    json: Json | None


FIELDS = ["text", "uuid", "int8", "bool", "float8", "timestamptz", "text[]", "uuid[]", "float8[]"]
PACK = row_encoder(Wide)
INFO = CompositeInfo(
    "wide",
    ROW_OID,
    ARRAY_OID,
    field_names=Wide._fields,
    field_types=[
        (found.array_oid if name.endswith("[]") else found.oid)
        for name in [*FIELDS, "timestamptz", "text", "int8", "text[]"]
        for found in [psycopg.postgres.types[name.removesuffix("[]")]]
    ],
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
integers = st.integers(-(2**63), 2**63 - 1)
moments = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
wides = st.builds(
    Wide,
    texts,
    st.uuids(),
    integers,
    st.booleans(),
    st.floats(),
    moments,
    st.lists(texts, max_size=3),
    st.lists(st.uuids(), max_size=3),
    st.lists(st.floats(), max_size=3),
    st.none() | moments,
    st.none() | texts,
    st.none() | integers,
    st.none() | st.lists(texts, max_size=3),
)


@given(st.lists(wides, max_size=4))
def test_what_is_packed_is_read_back_by_an_adapter(rows: list[Wide]) -> None:
    adapters = psycopg.adapters.__class__(psycopg.adapters)
    context = _Context(adapters)
    register_composite(INFO, context, factory=Wide)

    data = encode_rows(PACK, rows, ROW_OID).data

    loader = Transformer(context).get_loader(ARRAY_OID, Format.BINARY)
    assert repr(loader.load(data)) == repr(rows)


class _Context:
    """What a connection would be to the adapters."""

    connection = None

    def __init__(self, adapters: Any) -> None:
        self.adapters = adapters


def test_json_is_sent_as_the_text_that_it_is_and_floats_in_single_precision() -> None:
    rows = [Narrow((0.5, 1e-300), '{"a": 1}'), Narrow(None, b"{}"), Narrow((), None)]

    data = encode_rows(row_encoder(Narrow), rows, ROW_OID).data

    real = b"\0\0\0\4"
    assert real + b"\x3f\0\0\0" + real + b"\0\0\0\0" in data
    assert b'\0\0\0\x09\x01{"a": 1}' in data
    assert b"\0\0\0\3\x01{}" in data
    assert data.count(b"\xff\xff\xff\xff") == 2


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_number_that_is_too_large_for_its_column_is_the_rows_own_fault(value: int) -> None:
    class Count(NamedTuple):
        number: Integer

    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        encode_rows(row_encoder(Count), [Count(value)], ROW_OID)


def test_a_number_beyond_single_precision_is_the_rows_own_fault() -> None:
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        encode_rows(row_encoder(Narrow), [Narrow((1e300,), None)], ROW_OID)


def test_keys_are_packed_as_arrays_of_their_type() -> None:
    loaders = Transformer(_Context(psycopg.adapters))
    text, uuid = (psycopg.postgres.types[name].array_oid for name in ("text", "uuid"))

    for values in ([], ["a", "č"]):
        assert loaders.get_loader(text, Format.BINARY).load(encode_texts(values).data) == values
    ids = [UUID(int=7), UUID(int=2**127)]
    assert loaders.get_loader(uuid, Format.BINARY).load(encode_uuids(ids).data) == ids


def test_a_type_that_nobody_packs_is_found_when_the_program_starts() -> None:
    class Odd(NamedTuple):
        when: datetime

    with pytest.raises(KeyError):
        row_encoder(Odd)
