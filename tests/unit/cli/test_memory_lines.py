"""A memory survives the way out and back in, and a line that is no memory is refused with its reason."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import A_MOMENT
from soma_cli.formats.json_lines import MemoryLine, format_line, parse_line
from soma_schemas.fields import Kind
from soma_schemas.identity import memory_id_for_coordinate, memory_id_for_key
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.violations import ContractError, ViolationCode

_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
_numbers = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
_seconds = st.floats(0, 200_000_000_000, allow_nan=False).map(lambda seconds: timedelta(seconds=seconds))
_times = st.builds(
    lambda passed, zone: (datetime(1970, 1, 1, tzinfo=UTC) + passed).astimezone(zone),
    _seconds,
    st.sampled_from([UTC, timezone(timedelta(hours=2))]),
)
_names = st.one_of(
    st.builds(lambda key: {"key": key}, _texts),
    st.builds(lambda numbers: {"coordinate": numbers}, st.lists(_numbers, min_size=1, max_size=4)),
    st.builds(lambda memory_id: {"memory_id": memory_id}, st.uuids()),
    st.just({}),
)


@st.composite
def _memories(draw: st.DrawFn) -> MemoryLine:
    return MemoryLine(
        namespace=draw(st.sampled_from(["a", "team/notes", "people/јасна"])),
        kind=draw(st.sampled_from(Kind)),
        text=draw(_texts),
        payload=draw(st.dictionaries(_texts, _json, max_size=3)),
        tags=draw(st.lists(_texts, max_size=3)),
        importance=draw(st.floats(0, 1)),
        embedding=draw(st.none() | st.lists(_numbers, min_size=1, max_size=4)),
        embedding_model=draw(st.none() | _texts),
        subject=draw(st.none() | _texts),
        source=draw(st.none() | _texts),
        expires_at=draw(st.none() | _times),
        occurred_at=draw(st.none() | _times),
        actor=draw(st.none() | _texts),
        **draw(_names),
    )


def _line(**fields: Any) -> bytes:
    return json.dumps({"namespace": "team/notes", "text": "tea at four"} | fields).encode()


@given(_memories())
def test_a_memory_written_as_a_line_is_read_back_exactly(memory: MemoryLine) -> None:
    line = format_line(memory)

    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert parse_line(line.encode()) == memory
    assert format_line(parse_line(line.encode())) == line


def test_fields_at_their_defaults_are_left_out_and_change_nothing() -> None:
    assert json.loads(format_line(parse_line(_line(tags=[], importance=0.5, payload={})))) == {
        "namespace": "team/notes",
        "kind": "EPISODIC",
        "text": "tea at four",
    }
    assert parse_line(_line(tags=[])).canonical == parse_line(_line()).canonical


@pytest.mark.parametrize(
    ("line", "path", "code"),
    [
        (b"{", "", ViolationCode.NOT_JSON),
        (b"\xff", "", ViolationCode.NOT_JSON),
        (b"[1]", "", ViolationCode.WRONG_TYPE),
        (b'{"text": NaN}', "/text", ViolationCode.NOT_FINITE),
        (
            _line(payload={"a": math.inf}).replace(b"Infinity", b"1e999"),
            "/payload/a",
            ViolationCode.NOT_FINITE,
        ),
        (_line(payload={"a": 0}).replace(b"0}", b"1e-999}"), "/payload/a", ViolationCode.OUT_OF_RANGE),
        (b"[" * 100_000, "", ViolationCode.TOO_DEEP),
        (_line(colour="red"), "/colour", ViolationCode.UNKNOWN_FIELD),
        (_line(kind="LOUD"), "/kind", ViolationCode.INVALID_VALUE),
        (_line(importance="0.5"), "/importance", ViolationCode.WRONG_TYPE),
        (_line(importance=True), "/importance", ViolationCode.WRONG_TYPE),
        (_line(payload=[1]), "/payload", ViolationCode.WRONG_TYPE),
        (_line(memory_id="seven"), "/memory_id", ViolationCode.WRONG_TYPE),
        (_line(occurred_at=1_770_000_000), "/occurred_at", ViolationCode.WRONG_TYPE),
        (_line(occurred_at="1770000000"), "/occurred_at", ViolationCode.INVALID_TIME),
        (_line(occurred_at="2026-03-02T07:48:00"), "/occurred_at", ViolationCode.INVALID_TIME),
        (b'{"namespace": "a"}', "/text", ViolationCode.MISSING_FIELD),
    ],
)
def test_what_is_no_memory_is_refused_with_its_place_and_reason(
    line: bytes, path: str, code: ViolationCode
) -> None:
    with pytest.raises(ContractError) as refused:
        parse_line(line)

    assert [(each.path, each.code) for each in refused.value.violations] == [(path, code)]


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"namespace": "/a"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"text": ""}, "/text", ViolationCode.EMPTY),
        ({"text": "a\0b"}, "/text", ViolationCode.INVALID_CHARACTER),
        ({"importance": 1.5}, "/importance", ViolationCode.OUT_OF_RANGE),
        ({"tags": ["t"] * 65}, "/tags", ViolationCode.TOO_MANY),
        ({"key": "k", "coordinate": [1.0]}, "", ViolationCode.KEY_AND_COORDINATE),
        ({"key": "k", "memory_id": str(UUID(int=7))}, "", ViolationCode.IDENTITY_MISMATCH),
        ({"embedding": [1.0]}, "", ViolationCode.MISSING_FIELD),
        ({"key": "\ud800"}, "/key", ViolationCode.INVALID_CHARACTER),
        ({"text": "a\udfff"}, "/text", ViolationCode.INVALID_CHARACTER),
        ({"namespace": "\ud800", "key": "k"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"payload": {"\ud800": 1}}, "/payload", ViolationCode.INVALID_CHARACTER),
        ({"payload": {"a": ["\ud800"]}}, "/payload/a/0", ViolationCode.INVALID_CHARACTER),
        ({"tags": ["t", "\ud800"]}, "/tags/1", ViolationCode.INVALID_CHARACTER),
        ({"subject": "\ud800"}, "/subject", ViolationCode.INVALID_CHARACTER),
        ({"source": "s" * 2049}, "/source", ViolationCode.TOO_LONG),
        ({"actor": "\ud800"}, "/actor", ViolationCode.INVALID_CHARACTER),
    ],
)
def test_a_memory_that_breaks_the_contract_gives_no_event(
    fields: dict[str, Any], path: str, code: ViolationCode
) -> None:
    line = parse_line(_line(**fields))

    with pytest.raises(ContractError) as refused:
        line.event("acme", "0", A_MOMENT, DEFAULT_LIMITS)

    assert [(each.path, each.code) for each in refused.value.violations] == [(path, code)]


@given(_memories(), _times)
def test_the_same_memory_always_gives_the_same_event_and_the_same_id(
    memory: MemoryLine, now: datetime
) -> None:
    memory = memory.model_copy(update={"embedding": None, "embedding_model": None})

    first = memory.event("acme", "0", A_MOMENT, DEFAULT_LIMITS)
    again = memory.event("acme", "0", now, DEFAULT_LIMITS)

    assert again.event_id == first.event_id
    assert again.memory_id == first.memory_id


def test_another_content_tenant_or_occurrence_gives_another_event() -> None:
    def event_id(line: bytes, tenant: str, occurrence: str) -> UUID:
        return parse_line(line).event(tenant, occurrence, A_MOMENT, DEFAULT_LIMITS).event_id

    ids = {
        event_id(_line(), "acme", "0"),
        event_id(_line(text="tea at five"), "acme", "0"),
        event_id(_line(), "other", "0"),
        event_id(_line(), "acme", "1"),
    }
    assert len(ids) == 4


def test_a_memory_is_named_by_what_its_line_says() -> None:
    def memory_id(**fields: Any) -> UUID:
        return parse_line(_line(**fields)).event("acme", "0", A_MOMENT, DEFAULT_LIMITS).memory_id

    assert memory_id(key="k") == memory_id_for_key("acme", "team/notes", "k")
    assert memory_id(coordinate=[1, 2]) == memory_id_for_coordinate("acme", "team/notes", [1.0, 2.0])
    assert memory_id(memory_id=str(UUID(int=7))) == UUID(int=7)
    assert memory_id() != memory_id(text="tea at five")


def test_an_event_says_what_its_line_says() -> None:
    line = _line(
        kind="SEMANTIC",
        payload={"cups": 3, "größe": [1.5, None]},
        tags=["tea"],
        importance=0.25,
        subject="mira",
        source="notes.md",
        occurred_at="2026-03-02T08:48:00+01:00",
        expires_at="2027-01-01T00:00:00Z",
        actor="tom",
        embedding=[0.5, 1],
        embedding_model="m",
    )

    event = parse_line(line).event("acme", "0", A_MOMENT, DEFAULT_LIMITS)

    assert event.kind is Kind.SEMANTIC
    assert json.loads(event.payload) == {"cups": 3, "größe": [1.5, None]}
    assert (event.tags, event.importance, event.subject, event.actor) == (["tea"], 0.25, "mira", "tom")
    assert event.source == "notes.md"
    assert event.occurred_at == datetime(2026, 3, 2, 7, 48, tzinfo=UTC)
    assert event.expires_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert (event.embedding, event.embedding_model) == ([0.5, 1.0], "m")
    assert event.expected_version is None


def test_a_line_without_a_time_occurred_when_it_is_imported() -> None:
    assert parse_line(_line()).event("acme", "0", A_MOMENT, DEFAULT_LIMITS).occurred_at == A_MOMENT
