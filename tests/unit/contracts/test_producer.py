"""What the producer says of a memory that it cannot write down; it needs no broker for that."""

from collections import UserDict
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from builders import A_NAMESPACE, stored
from fakes import FakeClock
from odd_events import json_values
from soma_schemas.events import MemoryStored, PatchField
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import MemoryProducer, NewMemory, ProducerClosedError
from soma_schemas.producer_metrics import ProducerMetrics, PublishResult
from soma_schemas.settings import KafkaSettings, PublishingSettings
from soma_schemas.versions import Position
from soma_schemas.violations import ContractError, ViolationCode

A_MEMORY = UUID(int=1)
NOWHERE = PublishingSettings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))


@pytest.fixture(scope="module")
def producer() -> Iterator[MemoryProducer]:
    with MemoryProducer(NOWHERE, tenant="acme") as producer:
        yield producer


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def within_itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = [value]
    return value


@pytest.mark.parametrize(
    ("payload", "within", "code"),
    [
        ({"a": 10**5000}, "/a", ViolationCode.NOT_FINITE),
        ({"a": [-(10**5000)]}, "/a/0", ViolationCode.NOT_FINITE),
        ({"a": 10**400}, "/a", ViolationCode.NOT_FINITE),
        ({"a": float("nan")}, "/a", ViolationCode.NOT_FINITE),
        ({"a": float("inf")}, "/a", ViolationCode.NOT_FINITE),
        ({"a": {1, 2}}, "/a", ViolationCode.WRONG_TYPE),
        ({"a": {"b": [1, 2, 3, b"bytes"]}}, "/a/b/3", ViolationCode.WRONG_TYPE),
        ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, "/a", ViolationCode.WRONG_TYPE),
        ({"a/b": ({"~": 1j},)}, "/a~1b/0/~0", ViolationCode.WRONG_TYPE),
        ({("a", "b"): 1}, "", ViolationCode.WRONG_TYPE),
        ({10**5000: "a"}, "", ViolationCode.WRONG_TYPE),
        ({7: "a"}, "", ViolationCode.WRONG_TYPE),
        ({"a": [{None: "a"}]}, "/a/0", ViolationCode.WRONG_TYPE),
        ({"a": {True: 1}}, "/a", ViolationCode.WRONG_TYPE),
        (["a"], "", ViolationCode.WRONG_TYPE),
        (nested(100_000), 64 * "/a", ViolationCode.TOO_DEEP),
        (within_itself(), 32 * "/a/0", ViolationCode.TOO_DEEP),
        ({"a": "\ud800"}, "/a", ViolationCode.INVALID_CHARACTER),
        ({"a": {"b\0": 1}}, "/a", ViolationCode.INVALID_CHARACTER),
        ({"a": {"line\nend": [float("nan")]}}, "/a", ViolationCode.NOT_FINITE),
        ({"a": {"x" * 1000: [float("nan")]}}, "/a", ViolationCode.NOT_FINITE),
    ],
)
def test_a_payload_that_is_none_breaks_the_contract(
    producer: MemoryProducer, payload: Any, within: str, code: ViolationCode
) -> None:
    with pytest.raises(ContractError) as of_memory:
        producer.stored(NewMemory(namespace=A_NAMESPACE, text="x", payload=payload))
    with pytest.raises(ContractError) as of_patch:
        producer.patch(A_NAMESPACE, A_MEMORY, {PatchField.PAYLOAD: payload})

    for caught in (of_memory, of_patch):
        assert [(each.path, each.code) for each in caught.value.violations] == [("/payload" + within, code)]


def test_a_closed_producer_takes_nothing() -> None:
    producer = MemoryProducer(NOWHERE, tenant="acme")
    producer.close()

    for store in (producer.store, lambda memory: producer.store_many([memory])):
        with pytest.raises(ProducerClosedError):
            store(NewMemory(namespace=A_NAMESPACE, text="x"))


@pytest.mark.parametrize("payload", [MappingProxyType({"a": [1]}), UserDict({"a": [1]})])
def test_a_payload_is_any_mapping(producer: MemoryProducer, payload: Any) -> None:
    assert (
        producer.stored(NewMemory(namespace=A_NAMESPACE, text="x", payload=payload)).payload == '{"a": [1]}'
    )


@given(st.dictionaries(st.text(max_size=4), json_values | st.integers() | st.floats().map(lambda it: (it,))))
def test_a_payload_that_was_written_is_one_that_the_contract_takes_as_it_is(
    producer: MemoryProducer, payload: dict[str, Any]
) -> None:
    with suppress(ContractError):
        event = producer.stored(NewMemory(namespace=A_NAMESPACE, text="x", payload=payload))

        assert MemoryStored.validated(event.model_dump()) == event


@pytest.mark.parametrize("payload", ["{", '{"a": NaN}', '{"a": "\\u0000"}'])
def test_a_payload_that_is_text_is_checked(payload: str) -> None:
    with pytest.raises(ContractError):
        MemoryStored.validated(stored().model_dump() | {"payload": payload}, written="{}")


@pytest.mark.parametrize(
    ("identity", "path", "code"),
    [
        ({"key": "\ud800"}, "/key", ViolationCode.INVALID_CHARACTER),
        ({"key": 5}, "/key", ViolationCode.WRONG_TYPE),
        ({"namespace": "\ud800", "key": "k"}, "/namespace", ViolationCode.INVALID_NAMESPACE),
        ({"coordinate": 5}, "/coordinate", ViolationCode.WRONG_TYPE),
        ({"coordinate": [10**400]}, "/coordinate/0", ViolationCode.WRONG_TYPE),
        ({"coordinate": ["1"]}, "/coordinate/0", ViolationCode.WRONG_TYPE),
        ({"coordinate": [float("nan")]}, "/coordinate/0", ViolationCode.NOT_FINITE),
    ],
)
def test_an_identity_that_is_none_breaks_the_contract(
    producer: MemoryProducer, identity: dict[str, Any], path: str, code: ViolationCode
) -> None:
    with pytest.raises(ContractError) as caught:
        producer.stored(NewMemory(**{"namespace": A_NAMESPACE, "text": "x"} | identity))

    assert [(each.path, each.code) for each in caught.value.violations] == [(path, code)]


@pytest.mark.parametrize(
    ("field", "value", "path", "code"),
    [
        ("text", "\ud800", "/text", ViolationCode.INVALID_CHARACTER),
        ("subject", "\ud800", "/subject", ViolationCode.INVALID_CHARACTER),
        ("tags", ["\ud800"], "/tags/0", ViolationCode.INVALID_CHARACTER),
        ("tags", 5, "/tags", ViolationCode.WRONG_TYPE),
        ("tags", "tea", "/tags", ViolationCode.WRONG_TYPE),
        ("tags", [b"tea"], "/tags/0", ViolationCode.WRONG_TYPE),
        ("text", b"tea", "/text", ViolationCode.WRONG_TYPE),
        ("embedding", 5, "/embedding", ViolationCode.WRONG_TYPE),
        ("embedding", "ab", "/embedding", ViolationCode.WRONG_TYPE),
        ("expires_at", 5, "/expires_at", ViolationCode.WRONG_TYPE),
    ],
)
def test_a_field_of_another_type_breaks_the_contract(
    producer: MemoryProducer, field: str, value: Any, path: str, code: ViolationCode
) -> None:
    model = "a-model" if field == "embedding" else None
    with pytest.raises(ContractError) as of_memory:
        producer.stored(
            NewMemory(**{"namespace": A_NAMESPACE, "text": "x", field: value}, embedding_model=model)
        )
    with pytest.raises(ContractError) as of_patch:
        producer.patch(A_NAMESPACE, A_MEMORY, {PatchField(field): value}, embedding_model=model)

    for caught in (of_memory, of_patch):
        assert [(each.path, each.code) for each in caught.value.violations] == [(path, code)]


def test_answers_are_counted_by_what_they_say_and_each_call_is_timed() -> None:
    metrics, clock = MetricSet(), FakeClock()
    counts = ProducerMetrics(metrics, clock)
    counts.reads_queue(lambda: 3)
    counts.reads_queue(lambda: 4)
    began = clock.monotonic()
    clock.advance(0.5)

    counts.answered(
        [
            Position(0, 1),
            Position(0, 2),
            KafkaError(KafkaError._MSG_TIMED_OUT),
            KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED),
        ],
        began,
    )
    metrics.exposition("")

    def told(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    results = {each.value: told("soma_producer_answered_total", result=each) for each in PublishResult}
    assert results == {"acknowledged": 2, "timed_out": 1, "refused": 1}
    assert told("soma_producer_ack_seconds_sum") == 0.5
    assert told("soma_producer_queue_events") == 7
