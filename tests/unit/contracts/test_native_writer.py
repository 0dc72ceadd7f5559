"""What the native extension writes of a memory the model takes, and the Avro library writes the same."""

import io
import json
from collections import OrderedDict, UserDict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import A_MOMENT, A_NAMESPACE, an_id, stored
from native_and_reference import SMALL
from odd_events import TEXTS, json_values
from soma_schemas.avro_schemas import latest
from soma_schemas.events import MemoryStored
from soma_schemas.fields import Kind
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.native_writer import NativeWriter
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import KafkaSettings, PublishingSettings
from soma_schemas.violations import ContractError

SCHEMA = fastavro.parse_schema(latest("MemoryStored").parsed())


class BothWays:
    """The native writer and the reference, side by side."""

    def __init__(self, limits: Limits) -> None:
        nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:1")
        self.producer = MemoryProducer(
            PublishingSettings(kafka=nowhere, limits=limits), tenant="acme", actor="tester"
        )
        self._native = NativeWriter(limits)

    def agree(self, memory: NewMemory) -> bool:
        """Assert that both ways come to the same, and return whether the memory is sound natively."""
        stamps = self.producer._stamps(memory)
        natively = self._native.memory(stamps, memory)
        try:
            event = self.producer._stored(stamps, memory)
        except ContractError:
            assert natively is None
            return False
        if natively is not None:
            assert natively == written(event)
        self.agree_on(event)
        return natively is not None

    def agree_on(self, event: MemoryStored) -> bool:
        """Assert that both ways write an event equally, and return whether it is written natively."""
        natively = self._native.event(event)
        assert natively in {None, written(event)}
        return natively is not None


def written(event: MemoryStored) -> tuple[bytes, bytes]:
    """The key and the body of an event's record, by the reference."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, SCHEMA, event.model_dump())
    return event.log_key(), body.getvalue()


@pytest.fixture(scope="module")
def ways() -> Iterator[dict[Limits, BothWays]]:
    both = {limits: BothWays(limits) for limits in (DEFAULT_LIMITS, SMALL)}
    yield both
    for each in both.values():
        each.producer.close()


class Text(str):
    __slots__ = ()


class Share(float):
    pass


class Moment(datetime):
    pass


class Id(UUID):
    pass


class Mood(StrEnum):
    GOOD = "SEMANTIC"


A_MEMORY = NewMemory(namespace=A_NAMESPACE, text="tea at four")
ORDINARY: list[dict[str, Any]] = [
    {},
    {"key": "a"},
    {"key": "č" * 512, "actor": "agent-7", "text": 'čaj\n\t"\\\x1f\x7f ' * 2000, "tags": ["x", "y" * 128]},
    {"coordinate": [1.5, -0.0, 1e300, 5e-324, 1, -7]},
    {"coordinate": (2**53, 1.0)},
    {"memory_id": an_id(), "event_id": an_id(), "occurred_at": A_MOMENT, "expires_at": A_MOMENT},
    {"kind": Kind.SEMANTIC, "importance": 1, "expected_version": 2**53 - 1},
    {"kind": "SEMANTIC", "importance": 0.0, "expected_version": 0, "subject": "mira", "source": "a file"},
    {"embedding": [0.5, -0.25] * 2048, "embedding_model": "m", "tags": ("a", "b")},
    {"expires_at": datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2, seconds=7)))},
    {"payload": {"a": [1, -2.5, True, False, None, "x", {}, [], (), ("b",)], "č": {"d": 10**30}}},
    {"payload": {"small": 1e-5, "large": 1e16, "more": 1.7976931348623157e308, "least": 5e-324, "z": -0.0}},
    {"payload": {"text": 'a"b\\c\n\r\t\b\f\x01\x1f\x7f\u2028\U0001f4a9/'}},
]  # fmt: skip


@pytest.mark.parametrize("fields", ORDINARY, ids=str)
def test_an_ordinary_memory_is_written(ways: dict[Limits, BothWays], fields: dict[str, Any]) -> None:
    memory = replace(A_MEMORY, **fields)

    assert ways[DEFAULT_LIMITS].agree(memory)
    assert ways[DEFAULT_LIMITS].agree_on(ways[DEFAULT_LIMITS].producer.stored(memory))


def test_the_recorded_event_is_written() -> None:
    schema = latest("MemoryStored")
    golden = json.loads((Path(__file__).parent / "golden_events.json").read_text(encoding="utf-8"))
    value = bytes.fromhex(golden[f"{schema.record}/{schema.version}"])
    fields = fastavro.schemaless_reader(io.BytesIO(value), SCHEMA)
    assert isinstance(fields, dict)

    assert NativeWriter(DEFAULT_LIMITS).event(MemoryStored.validated(fields)) == (
        f"{fields['tenant']}/{fields['memory_id']}".encode(),
        value,
    )


def test_an_event_that_nobody_checked_is_written_by_the_reference(ways: dict[Limits, BothWays]) -> None:
    unchecked = stored().model_copy(update={"text": "x" * 70_000})

    assert not ways[DEFAULT_LIMITS].agree_on(unchecked)


def test_a_number_that_is_not_kept_is_looked_at(ways: dict[Limits, BothWays]) -> None:
    for number in (10**5000, -(10**5000), 10**400, float("nan"), float("-inf")):
        assert not ways[DEFAULT_LIMITS].agree(replace(A_MEMORY, payload={"a": number}))


texts = st.sampled_from([*TEXTS, "\ud800", Text("a"), "x" * 70_000]) | st.text(max_size=14)
numbers = st.one_of(
    st.floats(),
    st.integers(-3, 3),
    st.sampled_from([
        2**53, 2**53 + 1, -(2**53) - 1, 2**64, 10**400, True, False, Share(0.5), "0.5", None, b"1",
        2.0**-149, 0.6 * 2.0**-149, 2.0**-150, 3.4028234663852886e38, 3.4028235e38, 3.4028235677973366e38,
    ]),
)  # fmt: skip
zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.timezones(),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)
moments = st.one_of(
    st.none(),
    st.datetimes(timezones=zones),
    st.sampled_from([
        A_MOMENT.replace(tzinfo=None), datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        Moment(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z", "2026-01-01", 5, 0, A_MOMENT.date(),
    ]),
)  # fmt: skip
ids = st.none() | st.uuids() | st.sampled_from(["", str(an_id()), Id(int=5), 5, b"x" * 16, UUID(int=0)])
leaves = st.one_of(
    texts,
    numbers,
    st.integers(),
    st.sampled_from([{1}, b"a", 1j, A_MOMENT, Kind.EPISODIC, UserDict(a=1), OrderedDict(a=1)]),
)
values = st.recursive(
    json_values | leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["\ud800", 1, None, Text("k")]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for number in range(levels):
        value = {"a": [value] if number % 2 else value}
    return value


def several(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.lists(items, max_size=4),
        st.lists(items, max_size=4).map(tuple),
        st.sampled_from([
            (), "ab", 5, {"a": 1}, b"ab", frozenset({"a"}), ["a"] * 64, ["a"] * 65, [0.0], [1.0] * 5000,
        ]),
    )  # fmt: skip


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "namespace": texts | st.sampled_from(["a/" * 16 + "a", "a/" * 15 + "a", None, 5]),
    "text": texts | st.sampled_from([None, b"a"]),
    "key": st.none() | texts | st.just(5),
    "coordinate": several(numbers),
    "memory_id": ids,
    "kind": st.sampled_from([*Kind, "SEMANTIC", "semantic", Mood.GOOD, Text("SEMANTIC"), None, 0]),
    "payload": st.one_of(
        st.dictionaries(st.text(max_size=4), values, max_size=3),
        values,
        st.sampled_from([
            MappingProxyType({"a": 1}), UserDict(a=1), OrderedDict(a=1),
            {"a": "x" * 300_000}, {"a": [[]] * 30},
            *map(nested, (40, 43, 63, 64, 65, 500)),
        ]),
    ),
    "tags": several(texts),
    "importance": numbers,
    "embedding": several(numbers),
    "embedding_model": st.none() | texts,
    "subject": st.none() | texts,
    "source": st.none() | texts,
    "expires_at": moments,
    "expected_version": st.none() | numbers | st.sampled_from([2**53 - 1]),
    "event_id": ids,
    "occurred_at": moments,
    "actor": st.none() | texts,
}  # fmt: skip


@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, SMALL], ids=["usual", "small"])
@pytest.mark.parametrize("field", sorted(FIELDS))
@settings(max_examples=30)
@given(st.data())
def test_one_odd_field_is_judged_as_the_reference_does(
    ways: dict[Limits, BothWays], field: str, limits: Limits, data: st.DataObject
) -> None:
    memory = replace(A_MEMORY, **{field: data.draw(FIELDS[field])})
    if field == "embedding" and memory.embedding is not None:
        memory = replace(memory, embedding_model="m")

    ways[limits].agree(memory)


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(sorted(FIELDS)), min_size=2, max_size=5, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
    ),
    st.sampled_from([DEFAULT_LIMITS, SMALL]),
)
def test_whatever_a_memory_holds_is_judged_as_the_reference_does(
    ways: dict[Limits, BothWays], fields: dict[str, Any], limits: Limits
) -> None:
    ways[limits].agree(replace(A_MEMORY, **fields))


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_payloads_are_spelled_as_the_reference_does(
    ways: dict[Limits, BothWays], payload: dict[str, Any]
) -> None:
    ways[DEFAULT_LIMITS].agree(replace(A_MEMORY, payload=payload))
