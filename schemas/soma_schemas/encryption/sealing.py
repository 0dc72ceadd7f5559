"""Seals a record's whole value with a data key, and opens it again."""

import os
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from soma_schemas.encryption.encryption_errors import EncryptionError
from soma_schemas.encryption.master_keys import NONCE_BYTES
from soma_schemas.events import SealedEvent


class TamperedError(EncryptionError):
    """What is sealed was changed, or is not of the event that it claims to be."""

    code = "sealed_value"


class DataKey(NamedTuple):
    """A key for the events of one subject, or of one memory.

    Attributes:
        key_id: Names it.
        cipher: The key itself.
    """

    key_id: UUID
    cipher: AESGCM


class KeyOwner(NamedTuple):
    """Whose events a key encrypts: those of a subject, or those of a memory."""

    subject: str | None
    memory_id: UUID | None


class EventName(NamedTuple):
    """What stays readable of a sealed event, and is vouched for."""

    tenant: str
    memory_id: UUID
    event_id: UUID


def seal(value: bytes, key: DataKey, name: EventName) -> SealedEvent:
    """Return what hides the value of a record: all that its topic has of it.

    Args:
        value: In wire format.
        key: Of its subject or memory.
        name: Of the event.
    """
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + key.cipher.encrypt(nonce, value, _bound(name, key.key_id))
    return SealedEvent.model_construct(**name._asdict(), key_id=key.key_id, sealed=sealed)


def open_sealed(event: SealedEvent, key: DataKey) -> bytes:
    """Return the value that was sealed.

    Raises:
        TamperedError: It was changed, or sealed for another event.
    """
    name = EventName(event.tenant, event.memory_id, event.event_id)
    nonce, sealed = event.sealed[:NONCE_BYTES], event.sealed[NONCE_BYTES:]
    try:
        return key.cipher.decrypt(nonce, sealed, _bound(name, key.key_id))
    except (InvalidTag, ValueError):
        raise TamperedError("what is sealed was changed, or is of another event") from None


def _bound(name: EventName, key_id: UUID) -> bytes:
    return f"{name.tenant}/{name.memory_id}/{name.event_id}/{key_id}".encode()
