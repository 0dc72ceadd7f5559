"""Where the history tells of a record of the log."""

from soma_schemas.dead_letters import REPLAY_EPOCH_HEADER, REPLAY_OFFSET_HEADER, REPLAY_TIMESTAMP_HEADER
from soma_schemas.moments import of_millis
from soma_schemas.versions import pack_version
from soma_streams.audit.log_audit import place_in_history
from soma_streams.transport.records import Record, TimestampType

_NOW = 1_800_000_000_000


def a_record(**replay: int) -> Record:
    """A record at offset 9, with headers of a replay if it has a first place."""
    names = {"offset": REPLAY_OFFSET_HEADER, "epoch": REPLAY_EPOCH_HEADER, "at": REPLAY_TIMESTAMP_HEADER}
    headers = tuple((names[name], str(number).encode()) for name, number in replay.items())
    return Record(9, _NOW, TimestampType.LOG_APPEND_TIME, b"acme/x", b"", headers)


def test_a_record_is_told_of_at_its_own_place() -> None:
    assert place_in_history(a_record(), 2) == (pack_version(2, 9), of_millis(_NOW))


def test_a_replay_is_told_of_where_it_lay_first() -> None:
    replay = a_record(offset=4, epoch=1, at=_NOW - 1000)

    assert place_in_history(replay, 2) == (pack_version(1, 4), of_millis(_NOW - 1000))


def test_a_replay_that_claims_what_cannot_be_is_told_of_at_its_own_place() -> None:
    own = (pack_version(2, 9), of_millis(_NOW))

    for claims in (
        {"offset": 9, "epoch": 2, "at": _NOW - 1000},
        {"offset": 4, "epoch": 3, "at": _NOW - 1000},
        {"offset": 4, "epoch": 1, "at": _NOW + 1000},
        {"offset": 4, "epoch": 1},
    ):
        assert place_in_history(a_record(**claims), 2) == own, claims
