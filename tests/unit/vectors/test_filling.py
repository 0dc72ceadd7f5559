"""What a worker does with the index that it finds, decided from what the index and the brokers say."""

from collections.abc import Mapping
from uuid import UUID

import pytest

from soma_schemas.vectors.progress import Fill, Header, Held, LogIdentity
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.log_state import LogState
from soma_streams.sinks.vectors.errors import LogShorterError
from soma_streams.sinks.vectors.filling import Start, start_of

_LOG = LogIdentity("ours", 1)
_MADE_ANEW = LogIdentity("theirs", 1)
_LATER_EPOCH = LogIdentity("ours", 2)


def a_log_state(
    starts: tuple[int, int] = (0, 0), ends: tuple[int, int] = (100, 100), identity: LogIdentity = _LOG
) -> LogState:
    """A log of two partitions."""
    return LogState(identity, dict(enumerate(starts)), dict(enumerate(ends)))


def held(
    progress: Mapping[int, int],
    *,
    log: LogIdentity = _LOG,
    from_records: bool = False,
    fill: Fill | None = None,
) -> Held:
    """What an index says of itself."""
    return Held(Header(UUID(int=1), log, from_records), progress, fill)


def a_fill(*, tail: Mapping[int, int], done: bool = False) -> Fill:
    """A fill from the records."""
    return Fill(5, 10, ("acme", UUID(int=5)), tail, done)


@pytest.mark.parametrize(
    ("index", "log", "start"),
    [
        # It says nothing: new, lost, or of an older version.
        (None, a_log_state(), Start.BEGIN_FROM_LOG),
        (None, a_log_state(starts=(0, 1)), Start.BEGIN_FROM_RECORDS),
        (None, a_log_state(identity=_LATER_EPOCH), Start.BEGIN_FROM_RECORDS),
        # It holds this log.
        (held({}), a_log_state(), Start.GO_ON),
        (held({0: 100, 1: 40}), a_log_state(), Start.GO_ON),
        (held({0: 100, 1: 40}), a_log_state(starts=(90, 40)), Start.GO_ON),
        # The log has dropped what it would need next.
        (held({0: 100, 1: 40}), a_log_state(starts=(0, 41)), Start.BEGIN_FROM_RECORDS),
        (held({0: 100}), a_log_state(starts=(0, 1)), Start.BEGIN_FROM_RECORDS),
        # It holds another one: made anew under the same name, with and without a new epoch.
        (held({0: 100, 1: 100}, log=_MADE_ANEW), a_log_state(), Start.BEGIN_FROM_RECORDS),
        (held({}, log=_MADE_ANEW), a_log_state(), Start.BEGIN_FROM_RECORDS),
        (held({0: 9, 1: 9}), a_log_state(identity=_LATER_EPOCH), Start.BEGIN_FROM_RECORDS),
        # A fill from the records was interrupted, before its first page and after.
        (held({}, from_records=True), a_log_state(starts=(7, 7)), Start.FILL_ON),
        (held({}, from_records=True, fill=a_fill(tail={0: 7, 1: 9})), a_log_state((7, 7)), Start.FILL_ON),
        # It took so long that the log has dropped what comes after the records.
        (
            held({}, from_records=True, fill=a_fill(tail={0: 7, 1: 9})),
            a_log_state(starts=(8, 8)),
            Start.BEGIN_FROM_RECORDS,
        ),
        # It was filled, and went on.
        (
            held({0: 7, 1: 9}, from_records=True, fill=a_fill(tail={0: 7, 1: 9}, done=True)),
            a_log_state(starts=(7, 7)),
            Start.GO_ON,
        ),
    ],
)
def test_what_is_done_with_an_index_follows_from_what_it_holds_and_what_the_log_has(
    index: Held | None, log: LogState, start: Start
) -> None:
    assert start_of(index, log) is start


def test_an_index_beyond_the_end_of_its_own_log_stops_the_worker_and_is_kept() -> None:
    with pytest.raises(LogShorterError, match="partition 1 of the log up to 101") as raised:
        start_of(held({0: 100, 1: 101}), a_log_state())

    assert classify(raised.value) is FailureClass.SYSTEMIC
    assert "SOMA_TOPICS__EPOCH" in str(raised.value.remedy)
