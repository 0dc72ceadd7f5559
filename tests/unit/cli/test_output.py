"""What a command shows cannot harm a terminal, and says the same to people and to programs."""

import json

import pytest
from rich.text import Text

from soma_cli.output import Result, one_line, plain, progress, show


class _Cups(Result):
    cups: int

    def drawn(self) -> Text:
        return Text(f"{self.cups} cups")


def test_a_result_is_drawn_for_people_and_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    show(_Cups(cups=3), as_json=False)
    drawn = capsys.readouterr().out
    show(_Cups(cups=3), as_json=True)

    assert drawn == "3 cups\n"
    assert json.loads(capsys.readouterr().out) == {"cups": 3}


def test_stored_text_cannot_steer_the_terminal() -> None:
    assert plain("\x1b[31mred\x1b[0m\r\x07\x9b") == "�[31mred�[0m���"
    assert plain("caf\udce9") == "caf�"
    assert plain("two\nlines\tand a tab, größer: 日本") == "two\nlines and a tab, größer: 日本"


def test_a_long_text_is_shortened_to_one_line() -> None:
    assert one_line("  two\n lines ", 20) == "two lines"
    assert one_line("abcdefgh", 5) == "abcd…"


def test_progress_is_one_plain_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Reading", 3) as advance:
        advance(1)
        advance(2)

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Reading\n")
