"""One run of `soma`: the environment, and how to print errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from soma_client.home import home_of


@dataclass
class Invocation:
    """One run of `soma`.

    Attributes:
        environment: Variables, as they were at the start: nothing below reads them behind our back.
        show_traceback: Whether an error is shown with where it came from.
    """

    environment: Mapping[str, str]
    show_traceback: bool = False

    @property
    def home(self) -> Path:
        """The folder of the local stack: SOMA_HOME, or `~/.soma`."""
        return home_of(self.environment)

    @property
    def cache(self) -> Path:
        """Where downloads are kept: SOMA_CACHE, or `somafractalmemory` in the user's cache folder."""
        if given := self.environment.get("SOMA_CACHE"):
            return Path(given).absolute()
        caches = self.environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(caches) / "somafractalmemory"


def invocation_of(context: typer.Context) -> Invocation:
    """Return what `main` put into the context."""
    root = context.find_root().obj
    if not isinstance(root, Invocation):
        raise TypeError("this command was not started by soma_cli.main.run")
    return root
