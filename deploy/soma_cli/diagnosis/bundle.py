"""One archive of facts about an installation: no secrets, no memory content."""

import asyncio
import io
import json
import os
import tarfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.diagnosis import judgements
from soma_cli.diagnosis.examination import CHECK_SECONDS
from soma_cli.diagnosis.redaction import redacted
from soma_cli.failures import UsageError
from soma_cli.output import Result
from soma_schemas.errors import told

_MANIFEST = "manifest.json"


class Piece(NamedTuple):
    """One file of the archive.

    Attributes:
        name: In the archive.
        what: What it holds, in words.
        collect: Returns its content.
        seconds: How long that may take.
    """

    name: str
    what: str
    collect: Callable[[], Awaitable[bytes]]
    seconds: float = CHECK_SECONDS


class Packed(Result):
    """A file of the archive; where `error` is not null it could not be had and is not there."""

    name: str
    what: str
    bytes: int | None
    error: str | None


class Bundle(Result):
    """What was packed."""

    file: Path
    made_at: datetime
    version: str
    files: list[Packed]

    def drawn(self) -> RenderableType:
        """Return a line for each file."""
        table = Table("file", "size", "what it holds", box=None, header_style="bold", pad_edge=False)
        for each in self.files:
            size = "missing" if each.bytes is None else judgements.size(each.bytes)
            table.add_row(each.name, size, Text(each.what if each.error is None else each.error))
        return table


async def collected(pieces: Sequence[Piece]) -> list[tuple[Piece, bytes | str]]:
    """Return for each piece its content, or why it could not be had."""
    found = await asyncio.gather(*(_content(piece) for piece in pieces))
    return list(zip(pieces, found, strict=True))


def write_bundle(
    path: Path,
    found: Iterable[tuple[Piece, bytes | str]],
    *,
    secrets: Iterable[bytes],
    made_at: datetime,
    version: str,
) -> Bundle:
    """Write an archive that only its owner can read, and return what is in it.

    Args:
        path: Where; nothing may be there.
        found: The pieces.
        secrets: Taken out wherever they stand.
        made_at: Now.
        version: Of ours.

    Raises:
        UsageError: There is such a file.
        OSError: It cannot be written.
    """
    secrets = tuple(secrets)
    contents: dict[str, bytes] = {}
    files = []
    for piece, content in found:
        if isinstance(content, str):
            files.append(Packed(name=piece.name, what=piece.what, bytes=None, error=content))
        else:
            contents[piece.name] = redacted(content, secrets)
            size = len(contents[piece.name])
            files.append(Packed(name=piece.name, what=piece.what, bytes=size, error=None))
    bundle = Bundle(file=path, made_at=made_at, version=version, files=files)
    manifest = redacted(bundle.model_dump_json(indent=2).encode(), secrets)
    _write(path, {_MANIFEST: manifest, **contents}, made_at)
    return bundle


def as_json(value: object) -> bytes:
    """Return a value as a file for people and programs."""
    return (json.dumps(value, indent=2, default=str) + "\n").encode()


def _write(path: Path, contents: Mapping[str, bytes], made_at: datetime) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} is there already", remedy="name another file, or remove it") from None
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{path.name.partition('.')[0]}/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(made_at.timestamp())
            archive.addfile(entry, io.BytesIO(content))


async def _content(piece: Piece) -> bytes | str:
    try:
        async with asyncio.timeout(piece.seconds):
            return await piece.collect()
    except TimeoutError:
        return f"no answer within {piece.seconds:g} s"
    except Exception as error:  # noqa: BLE001  # what is missing is told, and the rest is packed
        return told(error) or f"unexpected {type(error).__name__}"
