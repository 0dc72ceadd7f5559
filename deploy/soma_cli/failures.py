"""How a run of `soma` fails: one shape for every error, and the exit codes."""

import errno
import sys
import traceback

from rich.console import Console
from rich.text import Text
from typer import TyperException

from soma_cli.local.errors import PartError
from soma_cli.output import plain
from soma_cli.standard_streams import STREAM_NAMES
from soma_client.errors import NoConnectionError, RefusedError
from soma_schemas.errors import SomaError
from soma_schemas.violations import ContractError

FAILED = 1
MISUSED = 2

_HINTS = {
    errno.EACCES: "take a path that you may use, or run it as a user who may",
    errno.EPERM: "take a path that you may use, or run it as a user who may",
    errno.EROFS: "take a path on a disk that can be written to",
    errno.EISDIR: "it is a folder: name a file",
    errno.ENOSPC: "make room on that disk, or take a path on another",
    errno.EDQUOT: "make room within your quota, or take a path elsewhere",
}
_LOG_LINES = 6  # the last words of a part that ended; its log has the rest


class UsageError(SomaError):
    """The command line makes no sense, although its syntax is right."""

    code = "usage"


class FindingsError(SomaError):
    """Something was looked at and is not as it should be.

    Attributes:
        findings: Everything that was found, one line each.
    """

    code = "findings"

    def __init__(self, message: str, findings: tuple[str, ...], *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.findings = findings


def report(error: Exception, *, with_traceback: bool) -> int:
    """Say on stderr what went wrong: the message, an empty line, and a hint that can be pasted.

    Returns:
        What the process ends with because of this error.
    """
    if with_traceback:
        traceback.print_exception(error, file=sys.stderr)
    # What went wrong in a group of tasks is what went wrong in its first: the others were told to end.
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    message, details, hint = described(error)
    # Typer has shown the help page already when there was nothing on the command line.
    if message:
        lines = [f"error: {message}", *(f"  {detail}" for detail in details)]
        complain([*lines, "", f"hint: {_uncapitalised(hint)}"] if hint else lines)
    misused = isinstance(error, UsageError | NoConnectionError) or (
        isinstance(error, TyperException) and error.exit_code == MISUSED
    )
    return MISUSED if misused else FAILED


def complain(lines: list[str]) -> None:
    """Write lines to stderr, `error:` and `hint:` in colour where there is colour."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in lines:
        text = Text(plain(line))
        text.highlight_regex(r"^error:", "bold red")
        text.highlight_regex(r"^hint:", "bold cyan")
        console.print(text)


def described(error: Exception) -> tuple[str, tuple[str, ...], str | None]:
    """Return what happened, its details line by line, and what to do next."""
    match error:
        case ContractError(violations=violations) if len(violations) > 1:
            details = tuple(f"{each.path or 'input'}: {each.message}" for each in violations)
            return f"{len(violations)} things are wrong with the input", details, error.remedy
        case FindingsError() | RefusedError():
            return str(error), error.findings, error.remedy
        case PartError():
            return str(error), error.last_lines[-_LOG_LINES:], error.remedy
        case SomaError():
            return str(error), (), error.remedy
        case TyperException():
            message = error.format_message().strip()
            return _uncapitalised(message), (), _help_for(error)
        case ModuleNotFoundError(name=str() as name) if not name.startswith("soma_"):
            return (
                f"this command needs `{name.partition('.')[0]}`, which is not installed",
                (),
                "pip install 'somafractalmemory[local]'",
            )
        case OSError(strerror=str() as reason):
            name = f"{error.filename}: " if error.filename else ""
            hint = _HINTS.get(error.errno or 0, "see whether the path is the one that you mean")
            is_path = error.filename is not None and error.filename not in STREAM_NAMES
            return f"{name}{reason}", (), hint if is_path else None
        case _:
            kind = type(error).__name__
            return f"unexpected {kind}: {error}", (), "run it again as `soma --traceback ...` and report it"


def _help_for(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context is not None else 'soma'} --help`"


def _uncapitalised(sentence: str) -> str:
    # Names in capitals stay as they are.
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]
