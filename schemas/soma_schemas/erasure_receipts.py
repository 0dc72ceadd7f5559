"""The receipt of an erasure: what it says, how it is signed, and how anybody checks it without us.

A receipt is a JSON object. Its signature is Ed25519 over the UTF-8 bytes of the object without `signature`,
keys sorted, no white space, every character as itself. It names nobody: who or what was erased stands in it
as a digest, which whoever knows the request and the selector can make again.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from soma_schemas.errors import ConfigurationError, SomaError

FORMAT = "soma-erasure/1"
SIGNATURE = "signature"
KEY_ID = "signing_key_id"

_KEY_ID_DIGITS = 16
_MAKE_A_KEY = "Make one with `openssl genpkey -algorithm ed25519 -out KEY.pem`, readable by the worker alone."


class ReceiptError(SomaError):
    """A receipt does not prove what it says."""

    code = "receipt"
    remedy = "Ask whoever gave you the receipt for the original, and for the public key that it names."


class SigningKeyError(ConfigurationError):
    """There is no key to sign receipts with, or what is given is none."""

    code = "signing_key"
    remedy = _MAKE_A_KEY


def selector_digest(request_id: UUID, selector: str | None) -> str | None:
    """Return what a receipt says of who or what was erased: SHA-256 of `request_id:selector`, or None."""
    return None if selector is None else hashlib.sha256(f"{request_id}:{selector}".encode()).hexdigest()


def canonical(receipt: Mapping[str, Any]) -> bytes:
    """Return the bytes that are signed.

    Raises:
        ReceiptError: It is nothing that JSON can say.
    """
    unsigned = {name: value for name, value in receipt.items() if name != SIGNATURE}
    try:
        return json.dumps(
            unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (TypeError, ValueError):
        raise ReceiptError("the receipt holds what JSON cannot say") from None


class ReceiptSigner:
    """Signs receipts.

    Args:
        key: Kept in memory as long as this is.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = key_id(key.public_key())

    @classmethod
    def of_file(cls, path: Path) -> "ReceiptSigner":
        """Return a signer with the key of a PEM file (PKCS 8, not encrypted).

        Raises:
            SigningKeyError: The file cannot be read, or holds no such key.
        """
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise SigningKeyError(f"cannot read the signing key {path}: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SigningKeyError(f"{path} holds no private key in PEM, or one with a password") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError(f"the key in {path} is none for Ed25519")
        return cls(key)

    def sign(self, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """Return the receipt with the key's name and the signature in it.

        Raises:
            ReceiptError: It is nothing that JSON can say.
        """
        named = {**receipt, KEY_ID: self.key_id}
        return {**named, SIGNATURE: base64.b64encode(self._key.sign(canonical(named))).decode()}


def new_signing_key() -> tuple[str, str]:
    """Return a new private key and its public key, each as PEM."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def public_key_of_file(path: Path) -> Ed25519PublicKey:
    """Return the public key in a PEM file.

    Raises:
        SigningKeyError: The file cannot be read, or holds no such key.
    """
    remedy = "The holder of the signing key gets it with `openssl pkey -in KEY.pem -pubout`."
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SigningKeyError(
            f"cannot read the public key {path}: {error.strerror}", remedy=remedy
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningKeyError(f"{path} holds no public key in PEM", remedy=remedy) from None
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError(f"the key in {path} is none for Ed25519", remedy=remedy)
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a key: the beginning of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:_KEY_ID_DIGITS]


def parse_receipt(text: str | bytes) -> dict[str, Any]:
    """Return the receipt that a text is; whether it proves anything is for `verify` to say.

    Raises:
        ReceiptError: It is none.
    """
    try:
        receipt = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ReceiptError("the file is no receipt: it is no JSON, or names a field twice") from None
    if not isinstance(receipt, dict) or receipt.get("receipt") != FORMAT:
        raise ReceiptError(f"the file is no receipt of format {FORMAT}")
    return receipt


def verify(receipt: Mapping[str, Any], key: Ed25519PublicKey) -> None:
    """Return when this key has signed exactly this receipt.

    Raises:
        ReceiptError: It was signed by another key, changed since, or not signed at all.
    """
    said, signature = receipt.get(KEY_ID), receipt.get(SIGNATURE)
    if not isinstance(said, str) or not isinstance(signature, str):
        raise ReceiptError("the receipt is not signed")
    if said != key_id(key):
        raise ReceiptError(f"the receipt names signing key {said}, and the key given is {key_id(key)}")
    try:
        key.verify(base64.b64decode(signature, validate=True), canonical(receipt))
    except (InvalidSignature, binascii.Error):
        raise ReceiptError(
            "the signature does not fit: the receipt was changed after it was signed"
        ) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    # Of a field that stands there twice a reader might see the one, and the signature cover the other.
    if len(found) != len(pairs):
        raise ValueError("a field is named twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(constant)
