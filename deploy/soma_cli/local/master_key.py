"""The master key with which the local stack wraps the keys that encrypt events."""

from pathlib import Path

from soma_cli.local.home import Home, write_private
from soma_schemas.encryption.master_keys import new_master_key


def master_key_file(home: Home) -> Path:
    """Return the file of a home's master key, made once and then kept, with mode 0600."""
    path = home.folder("secrets") / "master-key"
    if not path.exists():
        write_private(path, new_master_key())
    return path
