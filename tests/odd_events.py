"""MemoryStored as nobody should write it: what is at the edge of a rule, and what is beyond."""

import io
import json
import math
from typing import Any

import fastavro
from hypothesis import strategies as st

from builders import SCHEMA_IDS, WRITER_SCHEMAS, an_id, stored
from soma_schemas.identity import identified

SCHEMA = WRITER_SCHEMAS[SCHEMA_IDS["MemoryStored"]].parsed

A_UUID = "abcdefab-cdef-7bcd-8bcd-abcdefabcdef"
TEXTS = ["", "a", "a\0b", "čaj", "x" * 13, "\u2028", "a/b", "a//b", "%", "%2F", "A", "x" * 600, "č" * 400]
PAYLOADS = [
    "{}", " {} ", "[]", "null", "", "{", '{"a":1}x', '{"a":NaN}', '{"a":-Infinity}', '{"a":1e999}',
    '{"a":1e-999}', '{"a":-1E-999}', '{"a":[0.1e+1]}', '{"a":01}', '{"a":1.}', '{"a":.5}', '{"a":+1}',
    "{'a':1}", '{"a":1,}', '{"a":"\\u0000"}', '{"a":"\\ud800"}', '{"\\u0000":1}', '{"a":"\t"}',
    '{"a":"\x7f"}', '{"a":"\\x"}', "\ufeff{}", '{"a":1,"a":2}', '{"a":"1e5"}', '{"a": "x,-1e5"}',
    '{"a":9' + "9" * 400 + "}", '{"a":0.' + "0" * 400 + "1}", '{"a":1' + "0" * 5000 + "}",
    *(f'{{"a":[{number}, -{number}]}}' for number in (
        "1e30", "1E+5", "0e5", "0.0e-9999", "0e-20000", "1e-20000", "5e-324", "4.9e-324", "2e-324",
        "1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", str(2**64),
        str(2**1023), str(2**1024), "9" * 299, "9" * 301, "0.30000000000000004",
        "0.1000000000000000055511151231257827",
        "0." + "3" * 16384, "1." + "0" * 16384, "9007199254740993", "9007199254740993.0", "123456789012345.6",
        "1234567890123456.0", "12345678901234567.8", "0.123456789012345", "0.1234567890123450000", "1.5",
    )),
    '{"a":"0.1000000000000000055511151231257827"}', '{"a":"1.2.3.4.5.6.7.8.9.10.11.12"}',
    '{"a":' * 64 + "1" + "}" * 64, '{"a":' * 65 + "1" + "}" * 65, "[" * 2000, '{"a":"' + "x" * 60 + '"}',
]  # fmt: skip
LONGS = [-(2**63), -1, 0, 1, 2**53 - 1, 2**53, 253402300799999999, 253402300800000000, 2**63 - 1]
ODD: dict[str, list[Any]] = {
    "event_id": [A_UUID.upper(), f"{{{A_UUID}}}", "x" * 36, "", A_UUID[:-1], A_UUID[:-2] + "_1"],
    "tenant": [*TEXTS, "x" * 64],
    "occurred_at": LONGS,
    "actor": TEXTS,
    "namespace": [*TEXTS, "a/" * 16 + "a", "a/" * 15 + "a"],
    "key": [None, *TEXTS],
    "coordinate": [
        None,
        [],
        [1.0, -0.0],
        [math.inf],
        [math.inf, -math.inf],
        [math.nan],
        [1.0] * 16,
        [1.0] * 17,
    ],
    "kind": ["SEMANTIC"],
    "text": [*TEXTS, "x" * 70_000],
    "payload": PAYLOADS,
    "tags": [[text] for text in TEXTS] + [["a"] * 64, ["a"] * 65, ["a"] * 4],
    "importance": [0.0, -0.0, 1.0, 5e-324, 1.1, -1e-9, math.nan, math.inf],
    "embedding": [[], [1.0], [0.0], [math.nan], [1.0, math.inf], [2.0**-149], [3.4e38] * 99, [1.0] * 5000],
    "embedding_model": TEXTS,
    "subject": TEXTS,
    "source": [*TEXTS, "s" * 2048, "\N{PILE OF POO}" * 2048, "s" * 2049],
    "expires_at": LONGS,
    "expected_version": LONGS,
}
odd_text = st.sampled_from(TEXTS) | st.text(max_size=14)
longs = st.sampled_from(LONGS) | st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
odd_json = st.one_of(
    st.dictionaries(st.text(max_size=4), json_values, max_size=3).map(json.dumps),
    json_values.map(lambda value: json.dumps(value, ensure_ascii=False)),
    st.text(alphabet='{}[]",:0123456789eE+-.\\u tfn', max_size=12),
)
STRATEGIES = {name: st.sampled_from(values) for name, values in ODD.items()} | {
    "tenant": odd_text,
    "occurred_at": longs,
    "actor": odd_text,
    "namespace": odd_text,
    "key": st.none() | odd_text,
    "text": odd_text,
    "payload": odd_json,
    "tags": st.lists(odd_text, max_size=5),
    "importance": st.floats(),
    "subject": st.none() | odd_text,
    "source": st.none() | odd_text,
    "expires_at": st.none() | longs,
    "expected_version": st.none() | longs,
}


def raw(**changes: Any) -> dict[str, Any]:
    """Fields as Avro writes them, with the id that belongs to them unless it is among the changes."""
    fields = stored().model_dump(mode="json") | {"occurred_at": 1_772_445_600_000_000} | changes
    if "memory_id" not in changes:
        named = identified(fields["tenant"], fields["namespace"], fields["key"], fields["coordinate"])
        fields["memory_id"] = str(named or an_id())
    return fields


def wire(fields: dict[str, Any]) -> bytes:
    """Fields in wire format."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, SCHEMA, fields)
    return b"\0" + SCHEMA_IDS["MemoryStored"].to_bytes(4, "big") + body.getvalue()
