"""What an original looks like when it is published again."""

from datetime import UTC, datetime

import pytest

from builders import WRITER_SCHEMAS, a_batch, a_decoder, stored
from dead_letters import a_dead_letter, a_dead_record, as_dead_letter
from soma_schemas.settings import TopicSettings
from soma_schemas.versions import Position, pack_version
from soma_streams.delivery.state import LoggedEvent
from soma_streams.replay.republishing import Outgoing, original_headers, outgoing
from soma_streams.transport.records import Record

TOPICS = TopicSettings()


def published(event: Outgoing, offset: int) -> Record:
    """What the log makes of it, much later."""
    a_year_later = int(datetime(2027, 3, 3, tzinfo=UTC).timestamp() * 1000)
    return a_dead_record(offset=offset)._replace(
        key=event.key, value=event.value, headers=event.headers, timestamp_ms=a_year_later
    )


def decoded(record: Record, partition: int = 0) -> LoggedEvent:
    (item,) = a_decoder().decode(a_batch([record], partition=partition), WRITER_SCHEMAS).items
    assert isinstance(item, LoggedEvent), item
    return item


def test_key_value_and_headers_stay_as_they_were() -> None:
    own = (("traceparent", b"00-1"), ("twice", b"1"), ("twice", None))
    record = a_dead_record(stored(key="tea"), 7, headers=own)

    event = outgoing(a_dead_letter(7), record, TOPICS)

    assert (event.key, event.value) == (record.key, record.value)
    assert event.headers[: len(own)] == own
    assert original_headers(record) == own
    assert not any(name.startswith("x-dlq-") for name, _ in event.headers)


def test_a_sink_gives_it_its_first_version_and_time() -> None:
    dead_letter = a_dead_letter(7, partition=3)

    event = outgoing(dead_letter, a_dead_record(offset=7), TOPICS)
    seen = decoded(published(event, 900), partition=3)

    assert seen.version == event.version == pack_version(1, 7)
    assert seen.logged_at == event.logged_at == dead_letter.logged_at
    assert (seen.origin, seen.position) == (Position(3, 7), Position(3, 900))


def test_what_fails_again_keeps_the_place_that_it_had_at_the_very_first() -> None:
    first = outgoing(a_dead_letter(7), a_dead_record(offset=7), TOPICS)
    again = as_dead_letter(published(first, 900))

    second = outgoing(a_dead_letter(900), again, TOPICS)

    assert second.headers == first.headers
    assert (second.version, second.logged_at) == (first.version, first.logged_at)


@pytest.mark.parametrize(
    ("dead_letter", "partition"),
    [
        ({"epoch": 1, "partition": 3}, 3),
        ({"epoch": 1, "partition": 99}, None),
    ],
)
def test_it_goes_where_its_memorys_other_events_are(
    dead_letter: dict[str, int], partition: int | None
) -> None:
    assert outgoing(a_dead_letter(7, **dead_letter), a_dead_record(offset=7), TOPICS).partition == partition


def test_after_a_repartitioning_its_key_decides() -> None:
    event = outgoing(a_dead_letter(7), a_dead_record(offset=7), TopicSettings(epoch=2))

    assert event.partition is None
    assert event.version == pack_version(1, 7)


@pytest.mark.parametrize("missing", ["epoch", "partition", "log_offset", "logged_at"])
def test_a_dead_letter_that_does_not_say_where_it_belongs_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match="does not say"):
        outgoing(a_dead_letter(7, **{missing: None}), a_dead_record(offset=7), TOPICS)


def test_headers_of_an_earlier_replay_that_cannot_be_read_are_refused() -> None:
    record = a_dead_record(offset=7, headers=[("x-replay-offset", b"soon")])

    with pytest.raises(ValueError, match="earlier replay"):
        outgoing(a_dead_letter(7), record, TOPICS)
