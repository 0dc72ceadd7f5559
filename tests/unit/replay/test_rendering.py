"""What is shown of a dead letter's value."""

from hypothesis import given
from hypothesis import strategies as st

from builders import SCHEMA_IDS, WRITER_SCHEMAS, encoded, linked, stored
from soma_streams.replay.rendering import content_of, hexdump

TEA = stored(key="tea", text="Tea at four.", payload='{"cups": 2}')


def test_an_event_is_read_with_the_schema_that_it_was_written_with() -> None:
    content = content_of(encoded(TEA), WRITER_SCHEMAS)

    assert (content.record, content.schema_version) == ("MemoryStored", 2)
    assert content.schema_id == SCHEMA_IDS["MemoryStored"]
    assert content.fault is None
    assert content.fields is not None
    assert content.fields["text"] == "Tea at four."
    assert content.fields["payload"] == {"cups": 2}
    assert content.fields["memory_id"] == str(TEA.memory_id)


def test_an_empty_payload_is_an_object() -> None:
    content = content_of(encoded(stored(key="tea")), WRITER_SCHEMAS)

    assert content.fields is not None
    assert content.fields["payload"] == {}


def test_what_breaks_the_contract_is_readable_all_the_same() -> None:
    event = TEA.model_copy(update={"importance": 7.0, "payload": "no JSON"})

    content = content_of(encoded(event), WRITER_SCHEMAS)

    assert content.fields is not None
    assert (content.fields["importance"], content.fields["payload"]) == (7.0, "no JSON")


def test_bytes_after_the_event_are_told() -> None:
    content = content_of(encoded(TEA) + b"xy", WRITER_SCHEMAS)

    assert content.fields is not None
    assert content.fault == "2 bytes follow the event"


def test_json_that_is_no_wire_format_is_read() -> None:
    content = content_of(b'{"text": "Tea at four."}', {})

    assert content.fields == {"text": "Tea at four."}
    assert content.fault == "not in wire format, but JSON"


def test_what_cannot_be_read_says_why() -> None:
    assert content_of(None, {}).fault == "there is no value"
    assert content_of(b"garbage", {}).fault == "not in wire format"
    assert (
        content_of(encoded(TEA), {}).fault
        == f"the registry has no schema under id {SCHEMA_IDS['MemoryStored']}"
    )
    assert content_of(encoded(TEA)[:-3], WRITER_SCHEMAS).fault == "the body is not of its schema"


def test_every_record_can_be_shown() -> None:
    content = content_of(encoded(linked(TEA, TEA.memory_id)), WRITER_SCHEMAS)

    assert content.record == "MemoryLinked"
    assert content.fields is not None


@given(st.binary(max_size=200), st.sampled_from(sorted(WRITER_SCHEMAS)))
def test_nothing_that_a_value_holds_makes_it_fail(body: bytes, schema_id: int) -> None:
    content_of(body, WRITER_SCHEMAS)
    content = content_of(b"\0" + schema_id.to_bytes(4, "big") + body, WRITER_SCHEMAS)

    assert content.fields is not None or content.fault is not None


def test_a_dump_shows_offsets_bytes_and_characters() -> None:
    assert hexdump(b"\0tea at four\x7f..\xff!!", 100) == (
        "00000000  00 74 65 61 20 61 74 20 66 6f 75 72 7f 2e 2e ff  .tea at four....\n"
        "00000010  21 21                                            !!"
    )


def test_a_dump_says_what_it_leaves_out() -> None:
    assert hexdump(b"x" * 2000, 16).endswith("\n... and 1,984 bytes more")
