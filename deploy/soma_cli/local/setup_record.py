"""Records which version prepared the tables and schemas of a home, so that a start need not check."""

from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from soma_cli.local.home import Home, write_private

# Beside the data that it speaks of: both tables and schemas are kept there, and go with it.
_FOLDER = "postgres"
_FILE = "arranged"

_RELEASED = (("avro", ".avsc"), ("tables", ".py"), ("tables", ".sql"))


class SetupRecord:
    """Whether the tables were migrated and the schemas registered by exactly this version.

    A wrong yes does no harm: workers and API check both themselves when they start, and say what to run.
    """

    def __init__(self, home: Home) -> None:
        self._path = home.folder(_FOLDER) / _FILE
        self._version = fingerprint()

    def is_current(self) -> bool:
        """Say whether it was this version."""
        try:
            return self._path.read_text(encoding="ascii").strip() == self._version
        except FileNotFoundError:
            return False

    def note(self) -> None:
        """Remember that it is so now."""
        if not self.is_current():
            write_private(self._path, self._version + "\n")

    def forget(self) -> None:
        """Look again next time."""
        self._path.unlink(missing_ok=True)


def fingerprint() -> str:
    """Return what changes whenever a schema or a migration does."""
    digest = sha256()
    for folder, ending in _RELEASED:
        for name, file in sorted(_below(files("soma_schemas") / folder, folder)):
            if name.endswith(ending):
                digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _below(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _below(entry, name)
        else:
            yield name, entry
