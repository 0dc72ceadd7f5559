"""What the log says of data keys, in memory.keys: each as it is wrapped now, or that it is destroyed.

A key goes to its table first, then to the log, and encrypts only when it is in both. Whoever writes it to the
log holds its row meanwhile, so that the last record of a key says what the table says.
"""

import os
from collections.abc import Iterable
from typing import LiteralString, NamedTuple
from uuid import UUID, uuid5

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.master_keys import NONCE_BYTES, MasterKeys, WrappedKey
from soma_schemas.encryption.sealing import KeyOwner
from soma_schemas.events import DataKeyWrapped

COLUMNS: LiteralString = "key_id, tenant, subject, memory_id, wrapped, master_key_id"
NOTE_LOGGED: LiteralString = "UPDATE data_keys SET logged_at = now() WHERE key_id = ANY (%(key_ids)s::uuid[])"

_SUBJECT, _MEMORY = b"subject/", b"memory/"


class KeptKey(NamedTuple):
    """A data key as its table has it; the fields are `COLUMNS`.

    Attributes:
        subject: Whose events it encrypts; or else those of one memory; neither of one that is destroyed.
        wrapped: None of one that is destroyed.
    """

    key_id: UUID
    tenant: str
    subject: str | None
    memory_id: UUID | None
    wrapped: bytes | None
    master_key_id: str | None


def wrapped_event(key: KeptKey, masters: MasterKeys) -> DataKeyWrapped:
    """Return what the log is to say of a key that is not destroyed.

    Raises:
        MasterKeyError: There is not the master key that wrapped it.
        ValueError: It is destroyed.
    """
    if key.wrapped is None or key.master_key_id is None:
        raise ValueError("a destroyed key has a tombstone")
    secret = masters.unwrap(WrappedKey(key.wrapped, key.master_key_id), key.tenant, key.key_id)
    name = _MEMORY + str(key.memory_id).encode() if key.subject is None else _SUBJECT + key.subject.encode()
    nonce = os.urandom(NONCE_BYTES)
    return DataKeyWrapped(
        event_id=uuid5(key.key_id, key.master_key_id),
        tenant=key.tenant,
        key_id=key.key_id,
        wrapped=key.wrapped,
        master_key_id=key.master_key_id,
        owner=nonce + AESGCM(secret).encrypt(nonce, name, _bound(key.tenant, key.key_id)),
    )


def owner_of(event: DataKeyWrapped, masters: MasterKeys) -> KeyOwner:
    """Return whose events a key of the log encrypts.

    Raises:
        MasterKeyError: There is not the master key that wrapped it, or the record was changed.
    """
    secret = masters.unwrap(WrappedKey(event.wrapped, event.master_key_id), event.tenant, event.key_id)
    nonce, sealed = event.owner[:NONCE_BYTES], event.owner[NONCE_BYTES:]
    try:
        name = AESGCM(secret).decrypt(nonce, sealed, _bound(event.tenant, event.key_id))
    except (InvalidTag, ValueError):
        raise MasterKeyError(
            f"data key {event.key_id} does not say whose it is: its record in the log was changed"
        ) from None
    if name.startswith(_SUBJECT):
        return KeyOwner(name.removeprefix(_SUBJECT).decode(), None)
    return KeyOwner(None, UUID(name.removeprefix(_MEMORY).decode()))


def ids_of(keys: Iterable[KeptKey]) -> dict[str, list[UUID]]:
    """Return which keys `NOTE_LOGGED` is about."""
    return {"key_ids": [key.key_id for key in keys]}


def _bound(tenant: str, key_id: UUID) -> bytes:
    return f"owner of {tenant}/{key_id}".encode()
