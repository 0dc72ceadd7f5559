"""From bytes to events: whatever the bytes are."""

import asyncio
import io
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import A_MOMENT, SCHEMA_IDS, WRITER_SCHEMAS, a_batch, a_decoder, a_record, encoded, stored
from soma_schemas.clock import yield_now
from soma_schemas.dead_letters import Stage
from soma_schemas.events import SINK_EVENTS, MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.moments import FIRST_LOGGED, LAST_LOGGED, of_millis
from soma_schemas.settings import RegistrySettings
from soma_schemas.versions import Position, pack_version
from soma_streams.delivery.decode import Decoder, Poison, WriterSchemas, schema_ids
from soma_streams.delivery.state import LoggedEvent
from soma_streams.delivery.writer_schemas import judged
from soma_streams.transport.records import Record

DECODER = a_decoder()
MEMORY = stored(key="a", text="čaj")


def decode(record: Record, decoder: Decoder = DECODER) -> LoggedEvent | Poison:
    (item,) = decoder.decode(a_batch([record]), WRITER_SCHEMAS).items
    return item


def poison_of(record: Record, decoder: Decoder = DECODER) -> tuple[Stage, str]:
    item = decode(record, decoder)
    assert isinstance(item, Poison)
    return item.stage, item.code


def event_of(record: Record) -> LoggedEvent:
    item = decode(record)
    assert isinstance(item, LoggedEvent)
    return item


def wire(record_name: str, fields: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, WRITER_SCHEMAS[SCHEMA_IDS[record_name]].parsed, fields)
    return b"\0" + SCHEMA_IDS[record_name].to_bytes(4, "big") + body.getvalue()


def test_an_event_comes_out_as_it_went_in_with_its_place_in_the_log() -> None:
    item = event_of(a_record(MEMORY, 42))

    assert item.event == MEMORY
    assert item.position == item.origin == Position(0, 42)
    assert item.version == pack_version(1, 42)
    assert item.logged_at == A_MOMENT + timedelta(days=1, seconds=42)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null_value"),
        (b"", "not_wire_format"),
        (b"\0\0\0", "not_wire_format"),
        (b"garbage, not wire format", "not_wire_format"),
        (b"\0\xff\xff\xff\xff" + b"body", "unknown_schema_id"),
        (encoded(MEMORY)[:-1], "avro"),
        (encoded(MEMORY)[:20], "avro"),
        (encoded(MEMORY) + b"x", "trailing_bytes"),
        (b"\0" + SCHEMA_IDS["ErasureRequested"].to_bytes(4, "big") + b"x", "unexpected_record"),
    ],
)
def test_bytes_that_are_no_event_are_poison_with_a_reason(value: bytes | None, reason: str) -> None:
    assert poison_of(a_record(value, key=MEMORY.log_key())) == (Stage.DECODE, reason)


def test_an_event_that_breaks_the_contract_is_poison_of_validation() -> None:
    fields = MEMORY.model_dump() | {"importance": 7.0}

    assert poison_of(a_record(wire("MemoryStored", fields), key=MEMORY.log_key())) == (
        Stage.VALIDATE,
        "out_of_range",
    )


def test_an_event_over_the_limits_is_poison_of_validation() -> None:
    strict = a_decoder(Limits(text_bytes=3))

    assert poison_of(a_record(MEMORY), strict) == (Stage.VALIDATE, "too_long")


@pytest.mark.parametrize("key", [None, b"", b"acme/other", b"\xff"])
def test_a_record_under_a_foreign_key_is_poison(key: bytes | None) -> None:
    assert poison_of(a_record(encoded(MEMORY), key=key)) == (Stage.VALIDATE, "key_mismatch")


def test_a_message_about_poison_holds_no_content() -> None:
    fields = MEMORY.model_dump() | {"kind": "SEMANTIC", "text": "the secret" * 10_000}

    item = decode(a_record(wire("MemoryStored", fields), key=MEMORY.log_key()))

    assert isinstance(item, Poison)
    assert "secret" not in item.message


def test_a_schema_that_may_not_be_read_with_is_poison() -> None:
    schemas = {1: judged("no schema")}
    record = a_record(b"\0\0\0\0\1body", key=b"k")

    (item,) = DECODER.decode(a_batch([record]), schemas).items

    assert isinstance(item, Poison)
    assert item.code == "foreign_schema"


def test_a_replay_keeps_its_first_place_and_its_version() -> None:
    headers = [
        ("x-replay-offset", b"7"),
        ("x-replay-epoch", b"1"),
        ("x-replay-timestamp", b"1772445600000"),
    ]

    item = event_of(a_record(MEMORY, 42, headers=headers))

    assert item.position == Position(0, 42)
    assert item.origin == Position(0, 7)
    assert item.version == pack_version(1, 7)
    assert item.logged_at.timestamp() == 1772445600


@pytest.mark.parametrize(
    "headers",
    [
        [("x-replay-offset", b"43"), ("x-replay-epoch", b"1"), ("x-replay-timestamp", b"0")],
        [("x-replay-offset", b"7"), ("x-replay-epoch", b"8191"), ("x-replay-timestamp", b"0")],
        [("x-replay-offset", b"x"), ("x-replay-epoch", b"1"), ("x-replay-timestamp", b"0")],
        [("x-replay-offset", b"7"), ("x-replay-timestamp", b"0")],
        [("x-replay-offset", None), ("x-replay-epoch", b"1"), ("x-replay-timestamp", b"0")],
        [("x-replay-offset", b"7"), ("x-replay-epoch", b"1"), ("x-replay-timestamp", b"9" * 30)],
    ],
)
def test_a_replay_never_claims_a_place_after_its_own(headers: list[tuple[str, bytes | None]]) -> None:
    record = a_record(MEMORY, 42, headers=headers)

    assert poison_of(record) == (Stage.VALIDATE, "replay_headers")


OWN_MILLIS = a_record(MEMORY, 42).timestamp_ms


@pytest.mark.parametrize(
    ("milliseconds", "code"),
    [
        (-62_135_596_800_000, "replay_headers"),
        (0, "replay_headers"),
        (946_684_799_999, "replay_headers"),
        (946_684_800_000, None),  # 2000-01-01
        (OWN_MILLIS, None),
        (OWN_MILLIS + 1, "replay_headers"),
        (7_258_118_400_000, "replay_headers"),  # 2200-01-01
        (253_402_300_799_999, "replay_headers"),
    ],
)
def test_a_replay_claims_only_a_time_at_which_the_log_can_have_received_it(
    milliseconds: int, code: str | None
) -> None:
    headers = [
        ("x-replay-offset", b"7"),
        ("x-replay-epoch", b"1"),
        ("x-replay-timestamp", b"%d" % milliseconds),
    ]
    record = a_record(MEMORY, 42, headers=headers)

    if code is None:
        assert event_of(record).logged_at == of_millis(milliseconds)
    else:
        assert poison_of(record) == (Stage.VALIDATE, code)


@pytest.mark.parametrize(
    ("milliseconds", "logged_at"),
    [(-(2**63), FIRST_LOGGED), (-1, FIRST_LOGGED), (0, FIRST_LOGGED), (2**63 - 1, LAST_LOGGED)],
)
@pytest.mark.parametrize("event", [MEMORY, stored(key="a", embedding=[0.5], embedding_model="m")])
def test_a_clock_that_was_wrong_by_decades_makes_no_poison(
    milliseconds: int, logged_at: datetime, event: MemoryStored
) -> None:
    good = a_record(event)._replace(timestamp_ms=milliseconds)
    bad = decode(a_record(b"garbage")._replace(timestamp_ms=milliseconds))

    assert event_of(good).logged_at == logged_at
    assert isinstance(bad, Poison)
    assert DECODER.dead_lettered(bad).logged_at == logged_at


def test_what_is_known_of_poison_comes_from_its_key() -> None:
    item = decode(a_record(b"garbage", 5, key=MEMORY.log_key()))
    other = decode(a_record(b"garbage", 5, key=b"\xff/x"))

    assert isinstance(item, Poison)
    assert isinstance(other, Poison)
    known, unknown = DECODER.dead_lettered(item), DECODER.dead_lettered(other)
    assert (known.tenant, known.memory_id, known.position) == ("acme", MEMORY.memory_id, Position(0, 5))
    assert (unknown.tenant, unknown.memory_id) == (None, None)


@pytest.mark.parametrize("tenant", ["", "a\0b", "A", "x" * 64])
def test_a_tenant_that_is_none_is_not_taken_from_a_key(tenant: str) -> None:
    item = decode(a_record(b"garbage", key=f"{tenant}/{MEMORY.memory_id}".encode()))

    assert isinstance(item, Poison)
    assert DECODER.dead_lettered(item).tenant is None


def test_only_well_formed_values_name_schema_ids() -> None:
    records = [a_record(None), a_record(b"\0\0"), a_record(b"\1\0\0\0\5x"), a_record(b"\0\0\0\0\5x")]

    assert schema_ids(records) == {5}


@given(st.binary(max_size=400), st.sampled_from(sorted(SCHEMA_IDS.values())))
def test_no_bytes_whatever_raise(body: bytes, schema_id: int) -> None:
    item = decode(a_record(b"\0" + schema_id.to_bytes(4, "big") + body, key=b"acme/x"))

    assert isinstance(item, Poison)


@given(st.data())
def test_no_truncation_or_flipped_byte_raises(data: st.DataObject) -> None:
    value = bytearray(encoded(MEMORY))
    place = data.draw(st.integers(5, len(value) - 1))
    value[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(5, len(value)))

    item = decode(a_record(bytes(value[:cut]), key=MEMORY.log_key()))

    assert isinstance(item, Poison | LoggedEvent)


def test_uuids_of_other_spellings_are_the_same_id() -> None:
    fields = MEMORY.model_dump() | {"event_id": UUID(str(MEMORY.event_id).upper())}

    assert event_of(a_record(wire("MemoryStored", fields), key=MEMORY.log_key())).event == MEMORY


@pytest.mark.parametrize("field", ["tags", "embedding"])
def test_a_list_of_very_many_items_is_poison_before_it_is_read(field: str) -> None:
    item = "" if field == "tags" else 0.5
    fields = MEMORY.model_dump() | {"embedding_model": "m", field: [item] * 200_000}

    assert poison_of(a_record(wire("MemoryStored", fields), key=MEMORY.log_key())) == (Stage.DECODE, "avro")


def test_an_event_at_its_limits_is_read() -> None:
    limits = DEFAULT_LIMITS
    event = stored(
        key="a",
        text="x" * limits.text_bytes,
        payload='{"a":"' + "x" * (limits.payload_bytes - 8) + '"}',
        tags=[f"{number}" * 10 for number in range(10, limits.tags)],
        embedding=[0.5] * limits.embedding_dimensions,
        embedding_model="m",
    )

    assert event_of(a_record(event)).event == event


async def test_decoding_in_turns_gives_what_decoding_at_once_does_and_lets_others_run() -> None:
    records = [a_record(stored(key=f"{number}", text="x" * 5000), number) for number in range(30)]
    ran = 0

    async def other() -> None:
        nonlocal ran
        while True:
            ran += 1
            await yield_now()

    running = asyncio.create_task(other())
    decoded = await DECODER.decode_in_turns(a_batch(records), WRITER_SCHEMAS, by_reference=True)
    running.cancel()

    by_reference = Decoder(SINK_EVENTS, DEFAULT_LIMITS, epoch=1)
    assert decoded == by_reference.decode(a_batch(records), WRITER_SCHEMAS)
    assert ran > 2


async def test_no_registry_is_asked_about_what_can_be_no_id() -> None:
    schemas = WriterSchemas(RegistrySettings(url="http://127.0.0.1:9"))
    try:
        assert await schemas.fetch({0, 2**31, 2**32 - 1}) == {}
    finally:
        await schemas.close()
