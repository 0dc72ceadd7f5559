"""Master keys: they wrap data keys, and come from a secret file.

The file has a key on each line, 32 bytes in base64. The first wraps; the others only unwrap, until every data
key is wrapped with the first.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from soma_schemas.encryption.encryption_errors import MasterKeyError

KEY_BYTES = 32
NONCE_BYTES = 12

_KEY_ID_DIGITS = 16
_MAKE_ONE = "Make one with `openssl rand -base64 32`, readable by our processes alone, and keep a copy safe."


class WrappedKey(NamedTuple):
    """A data key as PostgreSQL keeps it.

    Attributes:
        wrapped: A nonce, then the key under AES-256-GCM.
        master_key_id: Which master key wrapped it.
    """

    wrapped: bytes
    master_key_id: str


class MasterKeys:
    """The keys of a file. It is read again to wrap, and when a key is asked for that it did not have.

    Args:
        path: The file.

    Raises:
        MasterKeyError: It cannot be read, or holds no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = _keys_of(path)

    @property
    def ids(self) -> tuple[str, ...]:
        """Return which keys there are; the first one wraps."""
        return tuple(self._keys)

    def ids_now(self) -> tuple[str, ...]:
        """Return which keys the file has now, or had when it could last be read."""
        with suppress(MasterKeyError):
            self._keys = _keys_of(self._path)
        return self.ids

    def wrap(self, secret: bytes, tenant: str, key_id: UUID) -> WrappedKey:
        """Return a data key wrapped with the first key of the file; it unwraps under this name alone.

        Raises:
            MasterKeyError: The file cannot be read any more.
        """
        self._keys = _keys_of(self._path)
        master_key_id = self.ids[0]
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._keys[master_key_id].encrypt(nonce, secret, _bound(tenant, key_id))
        return WrappedKey(nonce + sealed, master_key_id)

    def unwrap(self, key: WrappedKey, tenant: str, key_id: UUID) -> bytes:
        """Return a data key.

        Raises:
            MasterKeyError: The file has not the key that wrapped it, or what is kept was changed.
        """
        if key.master_key_id not in self._keys:
            self._keys = _keys_of(self._path)
        master = self._keys.get(key.master_key_id)
        if master is None:
            raise MasterKeyError(
                f"data key {key_id} is wrapped with master key {key.master_key_id}; "
                f"{self._path} has {', '.join(self._keys)}"
            )
        nonce, sealed = key.wrapped[:NONCE_BYTES], key.wrapped[NONCE_BYTES:]
        try:
            return master.decrypt(nonce, sealed, _bound(tenant, key_id))
        except (InvalidTag, ValueError):
            raise MasterKeyError(
                f"data key {key_id} does not unwrap with the master key that it names: its row was changed",
                remedy="Restore the row of `data_keys` from a backup.",
            ) from None


def new_master_key() -> str:
    """Return a new master key as a line of the file."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n"


def _bound(tenant: str, key_id: UUID) -> bytes:
    return f"{tenant}/{key_id}".encode()


def _keys_of(path: Path) -> Mapping[str, AESGCM]:
    try:
        lines = path.read_text(encoding="ascii").split()
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except OSError as error:
        raise MasterKeyError(f"cannot read the master key {path}: {error.strerror}") from error
    except (ValueError, binascii.Error):
        raise MasterKeyError(f"{path} holds something else than keys in base64", remedy=_MAKE_ONE) from None
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise MasterKeyError(
            f"{path} has to hold keys of {KEY_BYTES} bytes in base64, one a line", remedy=_MAKE_ONE
        )
    return {_id_of(key): AESGCM(key) for key in keys}


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"soma master key id" + key).hexdigest()[:_KEY_ID_DIGITS]
