"""The embedded indexes of one folder: the one in use, one that is being built, and the one before.

Which is which stands in one file that is replaced as a whole, so that a crash leaves the old or the new.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from soma_cli.local.embedded_index import is_index, recorded_in, remove_index
from soma_schemas.errors import MismatchError
from soma_schemas.vectors.collection import Collection

_NAMES = "indexes.json"
_GENERATIONS = "generations"
# It lies in the folder itself, the others in folders below.
_FIRST = "first"


@dataclass(frozen=True, slots=True)
class IndexNames:
    """Which index is which.

    Attributes:
        current: The one in use.
        following: One that is built to take its place.
        former: The one in whose place it is.
    """

    current: str = _FIRST
    following: str | None = None
    former: str | None = None


class IndexFolder:
    """Where embedded indexes are.

    Args:
        path: The folder, as given to `soma serve`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> IndexNames:
        """Return which index is which.

        Raises:
            MismatchError: The file that says so is damaged.
        """
        try:
            return IndexNames(**json.loads((self._path / _NAMES).read_text()))
        except FileNotFoundError:
            return IndexNames()
        except (TypeError, ValueError):
            raise MismatchError(
                f"{self._path / _NAMES} does not say which index is in use",
                remedy="Stop `soma up`, delete the folder, and start it again: the index is filled anew.",
            ) from None

    def path(self, name: str) -> Path:
        """Return where an index is."""
        return self._path if name == _FIRST else self._path / name

    def recorded(self, name: str) -> Collection | None:
        """Return what an index says that it holds; None where there is none, or it does not say."""
        try:
            return Collection.recorded(name, recorded_in(self.path(name)))
        except MismatchError:
            return None

    def begin(self, declared: Collection) -> str:
        """Make a place for an index that is built, and return its name."""
        generation = self._generations() + 1
        while self.path(declared.name(generation)).exists():
            generation += 1
        # No name comes again: a process may still have the index open that had it, though it was deleted.
        self._path.mkdir(parents=True, exist_ok=True)
        (self._path / _GENERATIONS).write_text(f"{generation}\n", encoding="ascii")
        name = declared.name(generation)
        self.path(name).mkdir()
        self._write(replace(self.names(), following=name))
        return name

    def follow_former(self) -> None:
        """Have the index before be brought up to date to take the place of the one in use."""
        names = self.names()
        self._write(replace(names, following=names.former))

    def switch(self) -> None:
        """Put the index that was built in the place of the one in use, in one step."""
        names = self.names()
        if names.following is not None:
            self._write(IndexNames(current=names.following, former=names.current))

    def drop(self) -> list[str]:
        """Delete all indexes that are not in use, also half deleted ones; return their names."""
        current = self.names().current
        self._write(IndexNames(current=current))
        dropped = [
            path.name for path in sorted(self._path.glob("*--*")) if path.is_dir() and path.name != current
        ]
        for name in dropped:
            # The record goes first: whoever still has it open sees that it is deleted.
            remove_index(self._path / name)
            shutil.rmtree(self._path / name)
        if current != _FIRST and is_index(self._path):
            remove_index(self._path)
            dropped.append(_FIRST)
        return dropped

    def _generations(self) -> int:
        """Return how many indexes were begun here, at least."""
        try:
            return int((self._path / _GENERATIONS).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return 0

    def _write(self, names: IndexNames) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        fresh = self._path / f"{_NAMES}.new"
        with fresh.open("w") as file:
            json.dump(asdict(names), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path / _NAMES)
