"""A file that is encrypted as it is written, and read from anywhere: AES-256-GCM in chunks.

A header of a magic word, a salt and a check of the key; then chunks of one mebibyte, each sealed with its
number and with whether it is the last, so that none can be changed, moved, left out or cut off.
"""

import io
import os
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typing_extensions import Buffer

from soma_cli.backups.backup_errors import ArchiveError
from soma_cli.failures import UsageError

MAGIC = b"SOMAENC1"
_SALT_BYTES = 16
_CHECK_BYTES = 16
_HEADER_BYTES = len(MAGIC) + _SALT_BYTES + _CHECK_BYTES
_KEY_BYTES = 32
_TAG_BYTES = 16
_CHUNK_BYTES = 1024 * 1024
_SEALED_BYTES = _CHUNK_BYTES + _TAG_BYTES


def read_key_file(path: Path) -> bytes:
    """Return the key in a file: all of it but white space at its ends, 32 bytes at least.

    Raises:
        UsageError: It is too short to be a key.
        OSError: It cannot be read.
    """
    key = path.read_bytes().strip()
    if len(key) < _KEY_BYTES:
        raise UsageError(
            f"the key in {path} is shorter than {_KEY_BYTES} bytes",
            remedy=f"make one with `openssl rand -base64 {_KEY_BYTES}`",
        )
    return key


class EncryptingWriter(io.RawIOBase):
    """Encrypts what is written to it. `finish` seals the last chunk; without it the file is damaged.

    Args:
        file: Where to.
        key: Of `read_key_file`.
    """

    def __init__(self, file: IO[bytes], key: bytes) -> None:
        salt = os.urandom(_SALT_BYTES)
        secret, check = _derived(key, salt)
        self._cipher = AESGCM(secret)
        self._header = MAGIC + salt + check
        self._file = file
        self._waiting = bytearray()
        self._number = 0
        file.write(self._header)

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def write(self, data: Buffer) -> int:
        """Take more."""
        self._waiting += memoryview(data)
        # The last chunk is sealed as such, so a full one waits until something follows.
        while len(self._waiting) > _CHUNK_BYTES:
            self._seal(bytes(self._waiting[:_CHUNK_BYTES]), last=False)
            del self._waiting[:_CHUNK_BYTES]
        return memoryview(data).nbytes

    def finish(self) -> None:
        """Seal the last chunk."""
        self._seal(bytes(self._waiting), last=True)

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        nonce = _nonce(self._number, last=last)
        self._file.write(self._cipher.encrypt(nonce, chunk, self._header))
        self._number += 1


class DecryptingReader(io.RawIOBase):
    """Reads what `EncryptingWriter` wrote.

    Args:
        file: At any place; can be sought in.
        key: Of `read_key_file`.

    Raises:
        ArchiveError: It was encrypted with another key, or its beginning is damaged.
    """

    def __init__(self, file: IO[bytes], key: bytes) -> None:
        self._file = file
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self._header = file.read(_HEADER_BYTES)
        secret, check = _derived(key, self._header[len(MAGIC) : len(MAGIC) + _SALT_BYTES])
        if self._header != MAGIC + self._header[len(MAGIC) : len(MAGIC) + _SALT_BYTES] + check:
            raise ArchiveError(
                "the archive was encrypted with another key, or its first bytes are damaged",
                remedy="name the file of the key that it was encrypted with",
            )
        self._cipher = AESGCM(secret)
        sealed = size - _HEADER_BYTES
        self._chunks = -(-sealed // _SEALED_BYTES)
        self._size = sealed - self._chunks * _TAG_BYTES
        self._place = 0
        self._open: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go somewhere."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, begin + offset)
        return self._place

    def tell(self) -> int:
        """Return where it is."""
        return self._place

    def readinto(self, buffer: Buffer) -> int:
        """Read what is left of the current chunk, as far as there is room.

        Raises:
            ArchiveError: It is not what was written.
        """
        number, begin = divmod(self._place, _CHUNK_BYTES)
        if self._place >= self._size:
            return 0
        room = memoryview(buffer).cast("B")
        piece = self._chunk(number)[begin : begin + len(room)]
        room[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def _chunk(self, number: int) -> bytes:
        if self._open[0] != number:
            self._file.seek(_HEADER_BYTES + number * _SEALED_BYTES)
            sealed = self._file.read(_SEALED_BYTES)
            nonce = _nonce(number, last=number == self._chunks - 1)
            try:
                self._open = number, self._cipher.decrypt(nonce, sealed, self._header)
            except InvalidTag:
                raise ArchiveError("the archive is damaged: it is not as it was written") from None
        return self._open[1]


def _derived(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    made = HKDF(SHA256(), _KEY_BYTES + _CHECK_BYTES, salt, b"soma backup").derive(key)
    return made[:_KEY_BYTES], made[_KEY_BYTES:]


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
