"""A dead letter: the original untouched, its story in headers."""

from datetime import UTC, datetime
from uuid import UUID

from builders import a_record, stored
from soma_schemas.dead_letters import DeadLetterHeader, Stage
from soma_streams.delivery.dead_letters import DeadLetter, letter_headers
from soma_streams.transport.records import Record

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
    headers = letter_headers(letter, group=group, epoch=epoch, application_version="0.1.0")
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
