"""The key of whoever started the stack: made once, kept in a file, and never left behind without one."""

from pathlib import Path

import pytest

from fakes import FakeClock
from soma_cli.api_key_admin import list_keys
from soma_cli.local.local_api_key import local_api_key

TENANT = "local"


def test_a_key_is_made_once(owner_dsn: str, tmp_path: Path) -> None:
    now = FakeClock().now()

    made = local_api_key(tmp_path / "key", owner_dsn, TENANT, now)

    assert local_api_key(tmp_path / "key", owner_dsn, TENANT, now) == made
    assert len(list_keys(owner_dsn, TENANT)) == 1


def test_a_key_that_cannot_be_kept_is_not_made(owner_dsn: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        local_api_key(tmp_path / "missing" / "key", owner_dsn, TENANT, FakeClock().now())

    assert list_keys(owner_dsn, TENANT) == []
