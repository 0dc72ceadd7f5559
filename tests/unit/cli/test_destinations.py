"""An export goes where it was told to, and takes the place of nothing but a regular file."""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from soma_cli.destinations import ReaderGoneError, is_standard_output, open_destination


def _write(output: Path | None, text: str = "größer\n", *, private: bool = False) -> None:
    with open_destination(output, private=private) as file:
        file.write(text)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    """A umask that lets the group read."""
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_new_file_has_the_mode_that_the_umask_leaves_or_its_owners_alone(tmp_path: Path) -> None:
    _write(tmp_path / "shared")
    _write(tmp_path / "private", private=True)

    assert (_mode(tmp_path / "shared"), _mode(tmp_path / "private")) == (0o640, 0o600)
    assert (tmp_path / "shared").read_text(encoding="utf-8") == "größer\n"


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int, *, private: bool) -> None:
    file = tmp_path / "memories.jsonl"
    file.write_text("a long text of before", encoding="utf-8")
    file.chmod(mode)

    _write(file, private=private)

    assert (file.read_text(encoding="utf-8"), _mode(file)) == ("größer\n", mode)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_file_stays_as_it_was_until_all_is_written(tmp_path: Path) -> None:
    file = tmp_path / "memories.jsonl"
    file.write_text("before", encoding="utf-8")

    def fail_half_way() -> None:
        with open_destination(file) as lines:
            lines.write("half")
            raise RuntimeError("the API is gone")

    with pytest.raises(RuntimeError, match="the API is gone"):
        fail_half_way()

    assert file.read_text(encoding="utf-8") == "before"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("target_exists", [True, False])
def test_a_link_leads_to_its_end_and_stays_a_link(tmp_path: Path, *, target_exists: bool) -> None:
    target = tmp_path / "elsewhere" / "memories.jsonl"
    target.parent.mkdir()
    if target_exists:
        target.write_text("before", encoding="utf-8")
    (tmp_path / "middle").symlink_to("elsewhere/memories.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "middle")

    _write(tmp_path / "link")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert target.read_text(encoding="utf-8") == "größer\n"


def test_a_fifo_stays_one_and_its_reader_gets_the_lines(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    with ThreadPoolExecutor(1) as readers:
        read = readers.submit(fifo.read_text, encoding="utf-8")
        _write(fifo)

    assert read.result() == "größer\n"
    assert fifo.is_fifo()


def test_a_reader_that_ends_early_is_said(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # A reader that was there when it was opened, and is not when it is written to.
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    def write_unread() -> None:
        with open_destination(fifo) as file:
            os.close(reader)
            file.write("größer\n")

    with pytest.raises(ReaderGoneError, match=r"nobody reads .*fifo any more"):
        write_unread()


def test_a_device_stays_one_and_gets_the_lines() -> None:
    master, slave = os.openpty()
    device = Path(os.ttyname(slave))
    try:
        _write(device)
        assert os.read(master, 100).decode() == "größer\r\n"
        assert device.is_char_device()
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("output", [None, Path("-"), Path("/dev/stdout"), Path("/dev/fd/1")])
def test_standard_output_has_several_names(
    output: Path | None, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert is_standard_output(output)
    _write(output)

    assert capfd.readouterr().out == "größer\n"
    assert list(tmp_path.iterdir()) == []


def test_what_the_shell_opened_goes_on_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with file.open("w", encoding="utf-8") as opened:
        opened.write("before\n")
        opened.flush()
        _write(Path(f"/dev/fd/{opened.fileno()}"))
        opened.write("after\n")

    assert file.read_text(encoding="utf-8") == "before\ngrößer\nafter\n"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for place in (tmp_path, tmp_path / "no folder" / "file", tmp_path / "loop"):
        with pytest.raises(OSError, match=str(place)):
            _write(place)
