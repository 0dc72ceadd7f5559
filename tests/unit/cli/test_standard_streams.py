"""What `soma` reads and writes is the same in every locale, and a stream that is closed or full is said."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, punctuation, whitespace
from typing import Any

import pytest

from canned_api import MEMORY_ID, WRITTEN, CannedApi, a_memory

TEXT = "Größer: 日本 🍵 \u2028 end"
MEMORIES = {"memories": [a_memory(text=TEXT)], "next_cursor": None}

LOCALES = {
    "C": {"LC_ALL": "C"},
    "C.UTF-8": {"LC_ALL": "C.UTF-8"},
    "ASCII": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "Latin-1": {"LC_CTYPE": "xx_XX.ISO-8859-1"},  # as `latin_1` makes it
}

Process = subprocess.CompletedProcess[bytes]
SomaProcess = Callable[..., Process]


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real Latin-1 locale. Most systems have none, but each with glibc can make one."""
    path = tmp_path_factory.mktemp("locales")
    codes = "".join(f"<U{code:04X}> /x{code:02x} x\n" for code in range(256))
    (path / "charmap").write_text(
        f"<code_set_name> ISO-8859-1\n<escape_char> /\nCHARMAP\n{codes}END CHARMAP\n", encoding="ascii"
    )
    classes = {"upper": ascii_uppercase, "lower": ascii_lowercase, "punct": punctuation}
    lines = [
        f"{name} {';'.join(f'<U{ord(character):04X}>' for character in characters)}"
        for name, characters in (classes | {"space": whitespace, "blank": " \t"}).items()
    ]
    (path / "source").write_text(
        "\n".join(["escape_char /", "LC_CTYPE", *lines, "END LC_CTYPE", ""]), encoding="ascii"
    )
    # It warns, with exit code 1, of all that a locale has besides.
    subprocess.run(
        ["localedef", "-c", "-f", path / "charmap", "-i", path / "source", path / "xx_XX.ISO-8859-1"],
        capture_output=True,
        check=False,
    )
    return path


@pytest.fixture
def soma_process(api: CannedApi, tmp_path: Path, latin_1: Path) -> SomaProcess:
    """`soma` as a process of its own, with redirections as a shell has them."""
    surroundings = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))
    }

    def run(*arguments: str | bytes, redirect: str = "", locale: str = "C.UTF-8", **how: Any) -> Process:
        return subprocess.run(
            ["bash", "-c", f'exec "$0" -m soma_cli.main "$@" {redirect}', sys.executable, *arguments],
            env=surroundings
            | {"SOMA_HOME": str(tmp_path), "SOMA_URL": api.url, "SOMA_API_KEY": "k", "LOCPATH": str(latin_1)}
            | LOCALES[locale],
            capture_output=True,
            check=False,
            **how,
        )

    return run


def test_there_is_a_latin_1_locale(latin_1: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "import locale, sys; print(locale.getencoding(), sys.stdout.encoding)"],
        env={"LOCPATH": str(latin_1)} | LOCALES["Latin-1"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout.lower().split() == ["iso-8859-1", "iso8859-1"]


def _imported(path: Path, text: str) -> Path:
    path.write_text(json.dumps({"namespace": "a", "text": text}) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("locale", LOCALES)
def test_an_export_is_utf_8_in_every_locale(soma_process: SomaProcess, api: CannedApi, locale: str) -> None:
    api.answers(MEMORIES)

    ran = soma_process("export", locale=locale)

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert json.loads(ran.stdout.decode())["text"] == TEXT


def test_a_result_as_json_is_utf_8_in_a_locale_that_lacks_its_characters(
    soma_process: SomaProcess, api: CannedApi
) -> None:
    api.answers(MEMORIES)

    ran = soma_process("list", "--json", locale="Latin-1")

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert json.loads(ran.stdout.decode())["memories"][0]["text"] == TEXT


def test_a_result_for_people_is_utf_8_where_it_is_piped(soma_process: SomaProcess, api: CannedApi) -> None:
    api.answers(a_memory(text=TEXT))

    ran = soma_process("get", MEMORY_ID, locale="ASCII")

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert "Größer: 日本 🍵" in ran.stdout.decode()


def test_standard_input_is_utf_8_whatever_the_locale(soma_process: SomaProcess, api: CannedApi) -> None:
    api.answers(WRITTEN, 201)

    ran = soma_process("store", "-", locale="Latin-1", input=TEXT.encode())

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert api.asked[0].body["text"] == TEXT


def test_arguments_that_the_locale_lacks_are_utf_8(soma_process: SomaProcess, api: CannedApi) -> None:
    api.answers(WRITTEN, 201)

    ran = soma_process("store", TEXT, "-t", "größer", locale="ASCII")

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert (api.asked[0].body["text"], api.asked[0].body["tags"]) == (TEXT, ["größer"])


def test_a_terminal_that_lacks_a_character_shows_a_question_mark(
    soma_process: SomaProcess, api: CannedApi
) -> None:
    api.answers(a_memory(text=TEXT))
    master, slave = os.openpty()
    try:
        ran = soma_process("get", MEMORY_ID, redirect=f">{os.ttyname(slave)}", locale="Latin-1")
        shown = os.read(master, 100_000)
    finally:
        os.close(master)
        os.close(slave)

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert "Größer: ?? ?".encode("latin-1") in shown


@pytest.mark.parametrize(
    ("arguments", "redirect", "reason"),
    [
        (("--version",), ">&-", "standard output: Bad file descriptor"),
        (("config", "docs"), ">/dev/full", "standard output: No space left on device"),
        (("store", "-"), "<&-", "standard input: Bad file descriptor"),
    ],
)
def test_a_stream_that_is_closed_or_full_is_said(
    soma_process: SomaProcess, arguments: tuple[str, ...], redirect: str, reason: str
) -> None:
    ran = soma_process(*arguments, redirect=redirect)

    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.decode().splitlines()[-1] == f"error: {reason}"


def test_what_does_not_use_a_closed_stream_does_its_work(soma_process: SomaProcess, tmp_path: Path) -> None:
    file = _imported(tmp_path / "memories.jsonl", "tea")

    ran = soma_process("import", str(file), "--dry-run", "--json", redirect="<&- 2>&-")

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert json.loads(ran.stdout)["memories"] == 1


def test_an_error_that_nobody_can_read_still_has_its_exit_code(soma_process: SomaProcess) -> None:
    ran = soma_process("import", "nowhere", "--dry-run", redirect=">&- 2>&- <&-")

    assert (ran.returncode, ran.stdout, ran.stderr) == (1, b"", b"")


def test_a_reader_that_has_enough_is_no_news(soma_process: SomaProcess) -> None:
    # `true` ends long before anything is written.
    ran = soma_process("--help", redirect="| true")

    assert (ran.stdout, ran.stderr) == (b"", b"")


def test_standard_input_that_is_not_utf_8_is_refused(soma_process: SomaProcess, api: CannedApi) -> None:
    ran = soma_process("store", "-", input=b"caf\xe9")

    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.startswith(b"error: standard input is not UTF-8\n")
    assert api.asked == []


def test_a_file_may_have_any_name(soma_process: SomaProcess, api: CannedApi, tmp_path: Path) -> None:
    file = _imported(tmp_path / os.fsdecode(b"caf\xe9.jsonl"), "tea")
    api.answers(MEMORIES)

    checked = soma_process("import", os.fsencode(file), "--dry-run", "--json")
    exported = soma_process("export", "-o", os.fsencode(file), "--json")

    assert json.loads(checked.stdout.decode())["source"] == "caf\ufffd.jsonl"
    assert json.loads(exported.stdout.decode())["file"] == f"{tmp_path}/caf\ufffd.jsonl"
    assert json.loads(file.read_text(encoding="utf-8"))["text"] == TEXT
