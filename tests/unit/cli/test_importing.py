"""An import looks at everything first, sends everything in order, and may be run again at any time."""

import io
import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fakes import FakeClock
from soma_cli.failures import FindingsError
from soma_cli.formats.sources import FileSource, spooled
from soma_cli.importing import Importer, ImportInterruptedError
from soma_schemas.events import MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.producer import DeliveryTimeoutError, Receipt
from soma_schemas.versions import Position


class Log:
    """A log with two partitions that remembers what it was sent, and fails when told to."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.events: list[MemoryStored] = []
        self._fails_at = fails_at

    def publish(self, event: MemoryStored) -> "Future[Receipt]":
        answer: Future[Receipt] = Future()
        number = len(self.events)
        if number == self._fails_at:
            answer.set_exception(DeliveryTimeoutError("no broker acknowledged the event in time"))
        else:
            position = Position(number % 2, number)
            answer.set_result(Receipt(event.event_id, event.memory_id, position))
        self.events.append(event)
        return answer


def _file(tmp_path: Path, *lines: dict[str, Any] | str) -> FileSource:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path = tmp_path / "memories.jsonl"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return FileSource("memories.jsonl", path)


def _tea(text: str, key: str | None = None) -> dict[str, Any]:
    return {"namespace": "team/notes", "text": text} | ({} if key is None else {"key": key})


def _importer(run: str = "") -> Importer:
    return Importer("acme", DEFAULT_LIMITS, FakeClock(), run)


def _ignore(_more: int) -> None:
    """Nobody watches."""


def test_memories_are_sent_in_the_order_of_the_file(tmp_path: Path) -> None:
    log = Log()

    last = _importer().publish(_file(tmp_path, _tea("one"), "", _tea("two"), _tea("three")), log, _ignore)

    assert [event.text for event in log.events] == ["one", "two", "three"]
    assert last == {0: Position(0, 2), 1: Position(1, 1)}


def test_a_byte_order_mark_and_a_missing_last_line_end_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "memories.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(_tea("one")).encode())

    assert _importer().check(FileSource("memories.jsonl", path), _ignore) == 1


def test_every_bad_line_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    source = _file(tmp_path, _tea("one"), "{", _tea(""), {**_tea("four"), "importance": 2, "colour": "red"})

    with pytest.raises(FindingsError, match="3 faults; nothing was sent") as refused:
        _importer().check(source, _ignore)

    assert [finding.rpartition(":")[0] for finding in refused.value.findings] == [
        "line 2: it",
        "line 3: /text",
        "line 4: /colour",
    ]


def test_half_a_surrogate_pair_is_named_with_its_line_and_its_field(tmp_path: Path) -> None:
    source = _file(tmp_path, _tea("one"), _tea("two", key="\ud800"), _tea("\udfff", key="k"))

    with pytest.raises(FindingsError) as refused:
        _importer().check(source, _ignore)

    assert refused.value.findings == (
        "line 2: /key: holds half a surrogate pair",
        "line 3: /text: holds half a surrogate pair",
    )


def test_many_bad_lines_are_counted_and_only_the_first_are_named(tmp_path: Path) -> None:
    with pytest.raises(FindingsError, match="25 faults") as refused:
        _importer().check(_file(tmp_path, *["{"] * 25), _ignore)

    assert len(refused.value.findings) == 21
    assert refused.value.findings[-1] == "and 5 more"


def test_a_line_of_endless_length_is_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "memories.jsonl"
    with path.open("wb") as file:
        file.write(b"x" * (20 * 1024 * 1024) + b"\n")
        file.write(json.dumps(_tea("two")).encode() + b"\n{\n")

    with pytest.raises(FindingsError) as refused:
        _importer().check(FileSource("memories.jsonl", path), _ignore)

    assert [finding.split(":")[0] for finding in refused.value.findings] == ["line 1", "line 3"]


def test_importing_again_sends_the_same_events(tmp_path: Path) -> None:
    source = _file(tmp_path, _tea("one"), _tea("two", key="k"))
    first, second = Log(), Log()

    _importer().publish(source, first, _ignore)
    _importer().publish(source, second, _ignore)

    assert [(event.event_id, event.memory_id) for event in second.events] == [
        (event.event_id, event.memory_id) for event in first.events
    ]


def test_a_memory_that_changes_and_changes_back_ends_as_its_last_line_says(tmp_path: Path) -> None:
    log = Log()

    _importer().publish(_file(tmp_path, _tea("a", "k"), _tea("b", "k"), _tea("a", "k")), log, _ignore)

    assert len({event.event_id for event in log.events}) == 3
    assert len({event.memory_id for event in log.events}) == 1


def test_a_run_of_its_own_stores_anew_what_was_imported_before(tmp_path: Path) -> None:
    source = _file(tmp_path, _tea("one", key="k"))
    first, anew = Log(), Log()

    _importer().publish(source, first, _ignore)
    _importer(run="restored").publish(source, anew, _ignore)

    assert anew.events[0].event_id != first.events[0].event_id
    assert anew.events[0].memory_id == first.events[0].memory_id


def test_an_event_that_the_log_does_not_take_is_named_with_its_line(tmp_path: Path) -> None:
    source = _file(tmp_path, _tea("one"), _tea("two"), _tea("three"))

    with pytest.raises(ImportInterruptedError, match=r"stopped at line 2 of memories\.jsonl") as stopped:
        _importer().publish(source, Log(fails_at=1), _ignore)

    assert "run the same import again" in str(stopped.value.remedy)


def test_a_file_that_changed_after_the_check_is_said_with_its_line(tmp_path: Path) -> None:
    source = _file(tmp_path, _tea("one"), _tea("two"))
    _importer().check(source, _ignore)
    _file(tmp_path, _tea("one"), "{")

    with pytest.raises(ImportInterruptedError, match="stopped at line 2"):
        _importer().publish(source, Log(), _ignore)


def test_a_stream_can_be_read_twice() -> None:
    stream = io.BytesIO(json.dumps(_tea("one")).encode() + b"\n")

    with spooled(stream) as source:
        assert _importer().check(source, _ignore) == 1
        assert _importer().check(source, _ignore) == 1


def test_progress_adds_up_to_the_whole(tmp_path: Path) -> None:
    source = _file(tmp_path, _tea("one"), _tea("two"))
    seen: list[int] = []

    _importer().check(source, seen.append)

    assert sum(seen) == source.size
