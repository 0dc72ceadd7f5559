"""Where the local stack keeps what it leaves for its clients."""

from collections.abc import Mapping
from pathlib import Path


def home_of(environment: Mapping[str, str]) -> Path:
    """Return the folder of the local stack: SOMA_HOME, or `~/.soma`."""
    return Path(environment.get("SOMA_HOME") or Path.home() / ".soma").absolute()
