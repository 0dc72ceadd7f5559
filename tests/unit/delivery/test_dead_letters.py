"""A dead letter: the original untouched, its story in headers."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka import KafkaError, KafkaException

from builders import a_record, stored
from soma_schemas.dead_letters import DeadLetterHeader, Omitted, Stage
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_streams.delivery import dead_letters
from soma_streams.delivery.dead_letters import (
    DeadLetter,
    KafkaDeadLetterWriter,
    dead_letter_headers,
    reduced_copy,
    whole_copy,
)
from soma_streams.delivery.failures import RECORD_REFUSALS, FailureClass, classify
from soma_streams.transport.records import Record, Unreadable

FAILED_AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def a_letter(record: Record, message: str = "the body is not of its schema") -> DeadLetter:
    return DeadLetter(
        topic="memory.events",
        partition=3,
        record=record,
        stage=Stage.DECODE,
        code="avro",
        message=message,
        error_class="EOFError",
        attempts=2,
        first_failed_at=FAILED_AT,
    )


def headers_of(letter: DeadLetter, group: str = "soma-postgres", epoch: int = 1) -> list[tuple[str, bytes]]:
    headers = dead_letter_headers(
        letter, whole_copy(letter.record), group=group, epoch=epoch, application_version="0.1.0"
    )
    return [(name, value) for name, value in headers if isinstance(value, bytes)]


def test_the_headers_tell_the_whole_story() -> None:
    headers = dict(headers_of(a_letter(a_record(stored(), 42))))

    assert headers.keys() == {header.value for header in DeadLetterHeader}
    assert headers["x-dlq-group"] == b"soma-postgres"
    assert headers["x-dlq-topic"] == b"memory.events"
    assert (headers["x-dlq-partition"], headers["x-dlq-offset"]) == (b"3", b"42")
    assert headers["x-dlq-stage"] == b"decode"
    assert (headers["x-dlq-code"], headers["x-dlq-error-class"]) == (b"avro", b"EOFError")
    assert headers["x-dlq-attempts"] == b"2"
    assert headers["x-dlq-first-failed-at"] == b"2026-03-02T12:00:00+00:00"
    assert headers["x-dlq-timestamp"] == b"2026-03-03T09:00:42+00:00"


def test_the_originals_own_headers_stay_in_order() -> None:
    own = [("traceparent", b"00-1"), ("a", b"1"), ("a", b"2")]

    assert headers_of(a_letter(a_record(stored(), headers=own)))[:3] == own


def test_the_headers_of_an_earlier_letter_are_replaced() -> None:
    own = [("x-dlq-code", b"an older failure"), ("b", b"1")]

    headers = headers_of(a_letter(a_record(stored(), headers=own)))

    assert [value for name, value in headers if name == "x-dlq-code"] == [b"avro"]
    assert headers[0] == ("b", b"1")


def test_a_letter_written_twice_is_one_letter() -> None:
    letter = a_letter(a_record(stored(), 42))

    first, again = dict(headers_of(letter)), dict(headers_of(letter))

    assert first["x-dlq-id"] == again["x-dlq-id"]
    assert UUID(first["x-dlq-id"].decode()).version == 5


def test_letters_of_other_groups_epochs_and_places_are_others() -> None:
    here = a_letter(a_record(stored(), 42))
    ids = {
        dict(headers_of(here))["x-dlq-id"],
        dict(headers_of(here, group="soma-vectors"))["x-dlq-id"],
        dict(headers_of(here, epoch=2))["x-dlq-id"],
        dict(headers_of(a_letter(a_record(stored(), 43))))["x-dlq-id"],
    }

    assert len(ids) == 4


def test_a_long_message_is_cut() -> None:
    headers = dict(headers_of(a_letter(a_record(stored()), message="x" * 5000)))

    assert len(headers["x-dlq-message"]) == 1000


class Brokers:
    """Refuses, at once or when asked for deliveries, what a test tells it to; in place of the client."""

    def __init__(self, refuse: Callable[[dict[str, Any]], int | None], *, at_once: bool = False) -> None:
        self.taken: list[dict[str, Any]] = []
        self.offered = 0
        self._refuse = refuse
        self._at_once = at_once
        self._waiting: list[tuple[Any, KafkaError | None]] = []

    def __call__(self, *_: object, **__: object) -> "Brokers":
        """Stand for the client's constructor."""
        return self

    def produce(self, *_: object, on_delivery: Any, **record: Any) -> None:
        """Take a record, or not."""
        self.offered += 1
        code = self._refuse(record)
        if code is not None and self._at_once:
            raise KafkaException(KafkaError(code))
        if code is None:
            self.taken.append(record)
        self._waiting.append((on_delivery, None if code is None else KafkaError(code)))

    def poll(self, *_: object) -> None:
        """Tell what became of the records."""
        waiting, self._waiting = self._waiting, []
        for told, error in waiting:
            told(error, None)


async def written(monkeypatch: pytest.MonkeyPatch, brokers: Brokers, records: Sequence[Record]) -> None:
    monkeypatch.setattr(dead_letters, "Producer", brokers)
    writer = KafkaDeadLetterWriter(
        KafkaSettings(), TopicSettings(), group="soma-postgres", application_version="0.1.0"
    )
    await writer.write([a_letter(record) for record in records])


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("code", sorted(RECORD_REFUSALS))
async def test_whatever_is_refused_for_what_it_is_is_written_without_its_value(
    monkeypatch: pytest.MonkeyPatch, code: int, *, at_once: bool
) -> None:
    brokers = Brokers(lambda record: code if record["value"] == b"large" else None, at_once=at_once)
    records = [a_record(value, number, key=b"k") for number, value in enumerate([b"1", b"large", b"3"])]

    await written(monkeypatch, brokers, records)

    assert [record["value"] for record in brokers.taken] == [b"1", b"3", None]
    headers = dict(brokers.taken[-1]["headers"])
    assert headers["x-dlq-omitted"] == b"value"
    assert headers["x-dlq-offset"] == b"1"
    assert headers["x-dlq-message"] == (
        b"the body is not of its schema; not in the letter but in the log, while it is kept there: value"
    )


async def test_letters_that_are_refused_together_are_written_whole_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers(lambda _: KafkaError.MSG_SIZE_TOO_LARGE if brokers.offered <= 3 else None)
    records = [a_record(b"%d" % number, number, key=b"k") for number in range(3)]

    await written(monkeypatch, brokers, records)

    assert [record["value"] for record in brokers.taken] == [b"0", b"1", b"2"]


async def test_what_is_refused_even_without_its_value_is_the_topics_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers(lambda _: KafkaError.INVALID_RECORD)

    with pytest.raises(KafkaException) as raised:
        await written(monkeypatch, brokers, [a_record(b"x", key=b"k")])

    assert classify(raised.value) is FailureClass.SYSTEMIC


async def test_brokers_that_are_away_are_no_reason_to_leave_anything_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers(lambda _: KafkaError._MSG_TIMED_OUT)

    with pytest.raises(KafkaException):
        await written(monkeypatch, brokers, [a_record(b"x", key=b"k")])

    assert brokers.offered == 1


def test_a_writer_that_is_closed_lets_go_of_its_client_and_waits_for_no_brokers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers_are_back, ended = threading.Event(), threading.Event()

    class Client:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def close(self) -> None:
            """Block while the brokers are away."""
            if brokers_are_back.wait(60):
                ended.set()

    monkeypatch.setattr(dead_letters, "Producer", Client)
    writer = KafkaDeadLetterWriter(
        KafkaSettings(), TopicSettings(), group="soma-postgres", application_version="0.1.0"
    )

    writer.close()

    brokers_are_back.set()
    assert ended.wait(60)


async def test_a_client_is_let_go_of_only_after_a_write_that_was_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    polled, closed = threading.Event(), threading.Event()
    overtaken: list[bool] = []

    class Client(Brokers):
        def poll(self, *_: object) -> None:
            """Take long enough for a close that does not wait."""
            polled.set()
            overtaken.append(closed.wait(0.5))
            super().poll()

        def close(self) -> None:
            closed.set()

    monkeypatch.setattr(dead_letters, "Producer", Client(lambda _: None))
    writer = KafkaDeadLetterWriter(
        KafkaSettings(), TopicSettings(), group="soma-postgres", application_version="0.1.0"
    )
    writing = asyncio.create_task(writer.write([a_letter(a_record(b"x", key=b"k"))]))
    assert await asyncio.to_thread(polled.wait, 60)

    writing.cancel()
    writer.close()

    assert await asyncio.to_thread(closed.wait, 60)
    assert overtaken == [False]


def test_a_reduced_copy_keeps_what_surely_fits() -> None:
    headers = [(f"{number}", b"x" * 1000) for number in range(100)]

    copy = reduced_copy(a_record(b"x", key=b"k" * 5000, headers=headers))

    assert (copy.key, copy.value) == (None, None)
    assert list(copy.headers) == headers[: len(copy.headers)]
    assert 20 < len(copy.headers) < 50
    assert copy.omitted == {Omitted.KEY, Omitted.VALUE, Omitted.HEADERS}


def test_names_that_the_client_cannot_write_are_escaped_and_it_is_told() -> None:
    record = a_record(
        b"x", key=b"k", headers=[("a\udcff\udcfe", b"1"), ("b\0c", None), ("", b""), ("č", b"")]
    )

    copy = whole_copy(record)

    assert [name for name, _ in copy.headers] == ["a\\xff\\xfe", "b\\x00c", "", "č"]
    assert copy.omitted == {Omitted.HEADER_NAMES}


def test_what_was_not_read_is_left_out_and_it_is_told() -> None:
    copy = whole_copy(a_record(Unreadable(), key=None))

    assert copy.value is None
    assert copy.omitted == {Omitted.KEY, Omitted.VALUE, Omitted.HEADERS}
