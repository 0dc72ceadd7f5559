"""The key of whoever started the stack: made once, kept in a file, and never left behind without one."""

from pathlib import Path

import pytest

from fakes import FakeClock
from soma_cli.keys import list_keys
from soma_cli.local.own_key import kept_key

TENANT = "local"


def test_a_key_is_made_once(owner_dsn: str, tmp_path: Path) -> None:
    now = FakeClock().now()

    made = kept_key(tmp_path / "key", owner_dsn, TENANT, now)

    assert kept_key(tmp_path / "key", owner_dsn, TENANT, now) == made
    assert len(list_keys(owner_dsn, TENANT)) == 1


def test_a_key_that_cannot_be_kept_is_not_made(owner_dsn: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kept_key(tmp_path / "missing" / "key", owner_dsn, TENANT, FakeClock().now())

    assert list_keys(owner_dsn, TENANT) == []
