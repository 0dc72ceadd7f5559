"""Output: results on stdout, everything else on stderr."""

import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict
from rich.console import Console, RenderableType
from rich.text import Text

_PIPED_WIDTH = 1000  # a program reads lines: a row is never broken into two for it


class Result(BaseModel):
    """What a command found or did: one model, shown as JSON to programs and drawn for people."""

    model_config = ConfigDict(frozen=True)

    def drawn(self) -> RenderableType:
        """Return this for people."""
        raise NotImplementedError


def show(result: Result, *, as_json: bool) -> None:
    """Write a command's result to stdout."""
    write_out(result, result.drawn, as_json=as_json)


def write_out(model: BaseModel, draw: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Write a model to stdout.

    Args:
        model: What is shown.
        draw: Returns it for people.
        as_json: Show it to programs.
    """
    if as_json:
        sys.stdout.write(model.model_dump_json(indent=2) + "\n")
        sys.stdout.flush()
        return
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(draw())
        return
    console.width = _PIPED_WIDTH
    with console.capture() as captured:
        console.print(draw())
    # Columns are filled with blanks up to their width, which only a terminal has a use for.
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    sys.stdout.flush()


def say(line: str) -> None:
    """Write one line for people to stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(line))


def plain(text: str) -> str:
    """Return text without control characters and bytes that are no text: none of it may steer a terminal."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in {"Cc", "Cs"}
        else "\N{REPLACEMENT CHARACTER}"
        for character in text.replace("\t", " ")
    )


def one_line(text: str, width: int) -> str:
    """Return the beginning of a text on one line of at most that many characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far something long has come, on stderr: a bar on a terminal, else one plain line at its start.

    Args:
        label: What is going on, with a capital letter.
        total: How much there is to do, in any unit.

    Yields:
        A function to be called with how much more is done.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        say(label)
        yield lambda _more: None
        return
    from rich.progress import (  # noqa: PLC0415  # only a terminal pays for it
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda more: bar.advance(task, more)


@contextmanager
def waiting_for(whom: str) -> Iterator[None]:
    """Show on a terminal that an answer is awaited, until the block ends.

    Args:
        whom: Who is to answer, such as "the brokers".
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield
        return
    with console.status(f"Waiting for {whom}"):
        yield
