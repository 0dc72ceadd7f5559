"""An import looks at everything first, sends everything in order, and may be run again at any time."""

import io
import json
import os
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes import FakeClock
from soma_cli.failures import FindingsError
from soma_cli.formats.json_lines import MemoryLine
from soma_cli.formats.sources import FileSource, Item, Source, SourceChangedError, open_lines, spooled
from soma_cli.importer import Importer, ImportInterruptedError
from soma_schemas.events import MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.producer import DeliveryTimeoutError, Receipt
from soma_schemas.versions import Position
from soma_schemas.violations import ContractError, Violation, ViolationCode


class Log:
    """A log with two partitions that remembers what it was sent, and fails when told to."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.events: list[MemoryStored] = []
        self._fails_at = fails_at

    def publish(self, events: Sequence[MemoryStored]) -> "Future[list[Receipt]]":
        answer: Future[list[Receipt]] = Future()
        receipts = []
        for number, event in enumerate(events, start=len(self.events)):
            if number == self._fails_at:
                answer.set_exception(DeliveryTimeoutError("nobody acknowledged it", failed=[event.event_id]))
            receipts.append(Receipt(event.event_id, event.memory_id, Position(number % 2, number)))
        if not answer.done():
            answer.set_result(receipts)
        self.events += events
        return answer


@dataclass(frozen=True)
class Lines:
    """A source whose lines a test can change; whether people can mend them is the test's to say."""

    lines: list[dict[str, Any] | ContractError]
    correctable: bool = True
    changed: bool = False
    name: str = "memories.jsonl"
    size: int = 0

    def items(self) -> Iterator[Item]:
        for number, line in enumerate(self.lines, start=1):
            memory = line if isinstance(line, ContractError) else MemoryLine.model_validate(line)
            yield Item(f"line {number}", 1, memory)


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[..., FileSource]]:
    """Write lines to a file, and open it as a source."""
    path = tmp_path / "memories.jsonl"
    with ExitStack() as opened:

        def written(*lines: dict[str, Any] | str | bytes) -> FileSource:
            path.write_bytes(b"".join(_bytes_of(line) + b"\n" for line in lines))
            return opened.enter_context(open_lines(path))

        yield written


Write = Callable[..., FileSource]


def _bytes_of(line: dict[str, Any] | str | bytes) -> bytes:
    if isinstance(line, bytes):
        return line
    return (line if isinstance(line, str) else json.dumps(line)).encode()


def _publish(source: Source, log: Log, importer: Importer | None = None) -> dict[int, Position]:
    importer = importer or _importer()
    return importer.publish(source, importer.check(source, _ignore), log, _ignore)


def _tea(text: str, key: str | None = None) -> dict[str, Any]:
    return {"namespace": "team/notes", "text": text} | ({} if key is None else {"key": key})


def _importer(run: str = "") -> Importer:
    return Importer("acme", DEFAULT_LIMITS, FakeClock(), run)


def _ignore(_more: int) -> None:
    """Nobody watches."""


def test_memories_are_sent_in_the_order_of_the_file(write: Write) -> None:
    log = Log()

    last = _publish(write(_tea("one"), "", _tea("two"), _tea("three")), log)

    assert [event.text for event in log.events] == ["one", "two", "three"]
    assert last == {0: Position(0, 2), 1: Position(1, 1)}


def test_a_byte_order_mark_and_a_missing_last_line_end_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "memories.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(_tea("one")).encode())

    with open_lines(path) as source:
        assert _importer().check(source, _ignore).count == 1


def test_every_bad_line_is_named_and_nothing_is_sent(write: Write) -> None:
    source = write(_tea("one"), "{", _tea(""), {**_tea("four"), "importance": 2, "colour": "red"})

    with pytest.raises(FindingsError, match="3 faults; nothing was sent") as refused:
        _importer().check(source, _ignore)

    assert [finding.rpartition(":")[0] for finding in refused.value.findings] == [
        "line 2: it",
        "line 3: /text",
        "line 4: /colour",
    ]


def test_half_a_surrogate_pair_is_named_with_its_line_and_its_field(write: Write) -> None:
    source = write(_tea("one"), _tea("two", key="\ud800"), _tea("\udfff", key="k"))

    with pytest.raises(FindingsError) as refused:
        _importer().check(source, _ignore)

    assert refused.value.findings == (
        "line 2: /key: holds half a surrogate pair",
        "line 3: /text: holds half a surrogate pair",
    )


def test_many_bad_lines_are_counted_and_only_the_first_are_named(write: Write) -> None:
    with pytest.raises(FindingsError, match="25 faults") as refused:
        _importer().check(write(*["{"] * 25), _ignore)

    assert len(refused.value.findings) == 21
    assert refused.value.findings[-1] == "and 5 more"


def test_a_line_of_endless_length_is_one_fault(write: Write) -> None:
    source = write(b"x" * (20 * 1024 * 1024), _tea("two"), "{")

    with pytest.raises(FindingsError) as refused:
        _importer().check(source, _ignore)

    assert [finding.split(":")[0] for finding in refused.value.findings] == ["line 1", "line 3"]


def test_importing_again_sends_the_same_events(write: Write) -> None:
    source = write(_tea("one"), _tea("two", key="k"))
    first, second = Log(), Log()

    _publish(source, first)
    _publish(source, second)

    assert [(event.event_id, event.memory_id) for event in second.events] == [
        (event.event_id, event.memory_id) for event in first.events
    ]


def test_a_memory_that_changes_and_changes_back_ends_as_its_last_line_says(write: Write) -> None:
    log = Log()

    _publish(write(_tea("a", "k"), _tea("b", "k"), _tea("a", "k")), log)

    assert len({event.event_id for event in log.events}) == 3
    assert len({event.memory_id for event in log.events}) == 1


def test_a_run_of_its_own_stores_anew_what_was_imported_before(write: Write) -> None:
    source = write(_tea("one", key="k"))
    first, anew = Log(), Log()

    _publish(source, first)
    _publish(source, anew, _importer(run="restored"))

    assert anew.events[0].event_id != first.events[0].event_id
    assert anew.events[0].memory_id == first.events[0].memory_id


def test_an_event_that_the_log_does_not_take_is_named_with_its_line(write: Write) -> None:
    source = write(_tea("one"), _tea("two"), _tea("three"))

    with pytest.raises(ImportInterruptedError, match=r"stopped at line 2 of memories\.jsonl") as stopped:
        _publish(source, Log(fails_at=1))

    assert "run the same import again" in str(stopped.value.remedy)


def test_a_file_that_is_written_to_after_the_check_is_not_sent(write: Write) -> None:
    source = write(*[_tea(str(number)) for number in range(40)])
    checked = _importer().check(source, _ignore)
    write(_tea("one"), _tea("two"))
    log = Log()

    with pytest.raises(SourceChangedError, match=r"memories\.jsonl was written to .*; nothing was sent"):
        _importer().publish(source, checked, log, _ignore)

    assert log.events == []


def test_a_file_that_is_written_to_during_the_check_has_no_faults_but_that(write: Write) -> None:
    source = write(_tea("one"), _tea("two"))

    def write_over(_more: int) -> None:
        write(_tea("one"), "{")

    with pytest.raises(SourceChangedError, match="nothing was sent"):
        _importer().check(source, write_over)


@pytest.mark.parametrize(
    "changed",
    [
        [_tea("one")],
        [_tea("one"), _tea("two"), _tea("three")],
        [_tea("two"), _tea("one")],
        [_tea("one"), _tea("2")],
    ],
)
def test_what_was_sent_and_is_not_what_was_checked_is_said_with_its_count(
    changed: list[dict[str, Any]],
) -> None:
    source = Lines([_tea("one"), _tea("two")])
    checked = _importer().check(source, _ignore)
    log = Log()

    with pytest.raises(
        SourceChangedError, match=f"{len(changed)} memories were sent, which are not the 2 that were checked"
    ):
        _importer().publish(Lines([*changed]), checked, log, _ignore)

    assert len(log.events) == len(changed)


def test_a_file_that_is_replaced_is_imported_as_it_was_opened(write: Write, tmp_path: Path) -> None:
    source = write(_tea("one"))
    checked = _importer().check(source, _ignore)
    (tmp_path / "memories.jsonl").unlink()
    write(_tea("two"))
    log = Log()

    _importer().publish(source, checked, log, _ignore)

    assert [event.text for event in log.events] == ["one"]


def test_a_pipe_is_imported_whole_and_has_its_own_name(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    log = Log()
    text = "".join(json.dumps(_tea(str(number))) + "\n" for number in range(3_000))  # more than a pipe holds

    with ThreadPoolExecutor(1) as writers:
        written = writers.submit(fifo.write_text, text, encoding="utf-8")
        with open_lines(fifo) as source:
            _publish(source, log)

    assert (written.result(), source.name) == (len(text), str(fifo))
    assert [event.text for event in log.events] == [str(number) for number in range(3_000)]


def test_a_stream_can_be_read_twice() -> None:
    stream = io.BytesIO(json.dumps(_tea("one")).encode() + b"\n")

    with spooled(stream, "standard input") as source:
        assert _importer().check(source, _ignore) == _importer().check(source, _ignore)
        assert _importer().check(source, _ignore).count == 1


def test_a_folder_without_room_for_a_stream_is_named() -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refused, spooled(io.BytesIO(bytes(4096)), "-"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert refused.value.filename == tempfile.gettempdir()


def test_of_what_nobody_can_mend_the_rest_is_sent_and_the_refused_are_named() -> None:
    no_time = ContractError([Violation("/occurred_at", ViolationCode.OUT_OF_RANGE, "is no time")])
    source = Lines([_tea("one"), no_time, _tea("", key="k"), _tea("four")], correctable=False)
    log = Log()

    checked = _importer().check(source, _ignore)
    _importer().publish(source, checked, log, _ignore)

    assert checked.count == 2
    assert [fault.partition(":")[0] for fault in checked.refused] == ["line 2", "line 3"]
    assert checked.refused[0] == "line 2: /occurred_at: is no time"
    assert [event.text for event in log.events] == ["one", "four"]


def test_progress_adds_up_to_the_whole(write: Write) -> None:
    source = write(_tea("one"), _tea("two"))
    seen: list[int] = []

    _importer().check(source, seen.append)

    assert sum(seen) == source.size
