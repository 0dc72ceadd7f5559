"""Encryption on the real database."""

from pathlib import Path

import pytest

from soma_schemas.encryption.master_keys import new_master_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A master key."""
    path = tmp_path / "master-key"
    path.write_text(new_master_key(), encoding="ascii")
    return path
