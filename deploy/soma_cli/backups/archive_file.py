"""The archive: a zip file with the dump and its manifest, as it is or encrypted.

Plain, it opens with any zip program, and `tables.dump` with `pg_restore`.
"""

import errno
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, cast
from uuid import uuid4

from pydantic import ValidationError

from soma_cli.backups.backup_errors import ArchiveError, BackupError
from soma_cli.backups.encrypted_stream import MAGIC, DecryptingReader, EncryptingWriter
from soma_cli.backups.manifest import DumpFile, Manifest
from soma_cli.failures import UsageError

DUMP = "tables.dump"
MANIFEST = "manifest.json"

_PIECE_BYTES = 1024 * 1024
# Full disks, quotas and limits on the size of a file.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_archive(
    path: Path, pieces: Iterable[bytes], describe: Callable[[DumpFile], Manifest], key: bytes | None
) -> Manifest:
    """Write an archive, which is there whole or not at all; only its owner may read it.

    Args:
        path: Where there is nothing yet.
        pieces: The dump.
        describe: Returns the manifest, once the dump is known.
        key: Encrypts it; None leaves it plain.

    Raises:
        UsageError: There is something at that place.
        BackupError: The disk has no room; nothing is left of it.
        OSError: The folder cannot be written to.
    """
    if path.exists():
        raise UsageError(f"{path} is there already", remedy="name another file, or remove it")
    temporary = path.with_name(f".soma-{uuid4().hex}")
    written = 0
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file, _archive_writer(file, key) as archive:
            digest = sha256()
            with archive.open(DUMP, "w", force_zip64=True) as dump:
                for piece in pieces:
                    dump.write(piece)
                    digest.update(piece)
                    written += len(piece)
            manifest = describe(DumpFile(bytes=written, sha256=digest.hexdigest()))
            archive.writestr(MANIFEST, manifest.model_dump_json(indent=2) + "\n")
        _settle(temporary, path)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise BackupError(
            f"there is no room for the archive in {path.parent}: {error.strerror} after {written:,} bytes "
            "of the dump; nothing is left of it",
            remedy="name a folder with more room with --output",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


class Archive:
    """An archive that can be read. Made by `open_archive`.

    Attributes:
        manifest: What it says of itself.
    """

    def __init__(self, content: zipfile.ZipFile, manifest: Manifest) -> None:
        self._content = content
        self.manifest = manifest

    def check(self, advance: Callable[[int], None]) -> None:
        """Read the whole dump, and compare it with the manifest.

        Args:
            advance: Hears of every further byte.

        Raises:
            ArchiveError: It is damaged.
        """
        digest, read = sha256(), 0
        for piece in self.dump():
            digest.update(piece)
            read += len(piece)
            advance(len(piece))
        if DumpFile(bytes=read, sha256=digest.hexdigest()) != self.manifest.dump:
            raise ArchiveError("the archive is damaged: its dump is not the one that its manifest names")

    def dump(self) -> Iterator[bytes]:
        """Yield the dump.

        Raises:
            ArchiveError: It is damaged.
        """
        with _damage_told(), self._content.open(DUMP) as dump:
            while piece := dump.read(_PIECE_BYTES):
                yield piece


@contextmanager
def open_archive(path: Path, key: bytes | None) -> Iterator[Archive]:
    """Yield an archive; its dump is not looked at yet.

    Args:
        path: The file.
        key: What it is encrypted with; None where it is plain.

    Raises:
        ArchiveError: It is none, is damaged, or is encrypted with another key.
        UsageError: It is encrypted and there is no key, or the other way round.
        OSError: It cannot be read.
    """
    with ExitStack() as opened:
        file = opened.enter_context(path.open("rb"))
        encrypted = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        if encrypted and key is None:
            raise UsageError(f"{path} is encrypted", remedy="name the file of its key with --key-file")
        if key is not None and not encrypted:
            raise UsageError(f"{path} is not encrypted", remedy="leave --key-file out")
        plain: IO[bytes] = file
        if key is not None:
            plain = cast("IO[bytes]", io.BufferedReader(DecryptingReader(file, key), _PIECE_BYTES))
        with _damage_told():
            content = opened.enter_context(zipfile.ZipFile(plain))
            text = content.read(MANIFEST)
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            raise ArchiveError(
                f"the manifest of {path} is none that this version reads",
                remedy="use the version that made it, or a newer one",
            ) from error
        yield Archive(content, manifest)


@contextmanager
def _archive_writer(file: IO[bytes], key: bytes | None) -> Iterator[zipfile.ZipFile]:
    # Level 1: three times smaller than text is, and faster than a dump comes.
    if key is None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            yield archive
        return
    stream = EncryptingWriter(file, key)
    with zipfile.ZipFile(cast("IO[bytes]", stream), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        yield archive
    stream.finish()


@contextmanager
def _damage_told() -> Iterator[None]:
    """Translate what the zip reader says of damage.

    Raises:
        ArchiveError: It is damaged, or no archive at all.
    """
    try:
        yield
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, KeyError) as error:
        raise ArchiveError("this is no archive of `soma backup`, or it is damaged") from error
    except (NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
        # Flags, methods and sizes that make no sense.
        raise ArchiveError("the archive is damaged") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the beginning
            raise
        raise ArchiveError("the archive is damaged") from error


def _settle(temporary: Path, path: Path) -> None:
    """Give a finished file its name, so that it is there after a power cut too."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
