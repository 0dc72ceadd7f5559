"""Where what is downloaded or built for tests is kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder, which is that of the parts' programs too."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "somafractalmemory"
