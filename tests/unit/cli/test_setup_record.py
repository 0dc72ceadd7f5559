"""A home remembers which version arranged its tables and schemas."""

from pathlib import Path
from random import Random

import pytest

from soma_cli.local import setup_record
from soma_cli.local.home import Home
from soma_cli.local.setup_record import SetupRecord, fingerprint


def _home(folder: Path) -> Home:
    return Home(folder, Random(1))


def test_a_new_home_was_arranged_by_nobody(tmp_path: Path) -> None:
    assert not SetupRecord(_home(tmp_path)).is_current()


def test_the_same_version_need_not_look_again(tmp_path: Path) -> None:
    SetupRecord(_home(tmp_path)).note()

    assert SetupRecord(_home(tmp_path)).is_current()


def test_what_is_forgotten_is_looked_at_again(tmp_path: Path) -> None:
    arranged = SetupRecord(_home(tmp_path))
    arranged.note()

    arranged.forget()
    arranged.forget()

    assert not arranged.is_current()


def test_another_version_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SetupRecord(_home(tmp_path)).note()
    monkeypatch.setattr(setup_record, "_RELEASED", (("avro", ".avsc"),))

    assert not SetupRecord(_home(tmp_path)).is_current()


def test_a_home_whose_data_is_gone_is_arranged_anew(tmp_path: Path) -> None:
    SetupRecord(_home(tmp_path)).note()
    for file in (tmp_path / "postgres").iterdir():
        file.unlink()

    assert not SetupRecord(_home(tmp_path)).is_current()


def test_the_fingerprint_covers_schemas_and_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fingerprint()

    partial = set()
    for kept in setup_record._RELEASED:
        monkeypatch.setattr(setup_record, "_RELEASED", (kept,))
        partial.add(fingerprint())
    assert whole not in partial
    assert len(partial) >= 2
