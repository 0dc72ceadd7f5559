"""Secrets that are read from their files whenever they are asked for: they can be replaced meanwhile."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, SecretStr


class FileSecret(SecretStr):
    """A secret in a file: what the file holds now, or held last where it cannot be read.

    Args:
        file: With the secret, and white space around it at most.
        value: What it holds.
    """

    def __init__(self, file: Path, value: str) -> None:
        super().__init__(value)
        self._file = file

    def get_secret_value(self) -> str:
        """Return the secret: never log it."""
        try:
            found = self._file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError):
            found = ""  # it is being replaced
        if found.isprintable() and found:
            self._secret_value = found
        return self._secret_value


def fingerprint(*groups: BaseModel) -> str:
    """Return what changes when a secret or a file that some settings name does; it tells nothing of them."""
    digest = hashlib.sha256()
    for group in groups:
        for name in type(group).model_fields:
            match getattr(group, name):
                case SecretStr() as secret:
                    digest.update(secret.get_secret_value().encode())
                case Path() as path:
                    digest.update(_content(path))
                case _:
                    continue
            digest.update(b"\0" + name.encode() + b"\0")
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it is being replaced: the next look sees what came of it
