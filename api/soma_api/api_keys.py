"""API keys: how they are made, written down and recognised.

A key is `soma_<key_id>_<secret>`. The id finds the row; of the secret only a SHA-256 digest is kept. A fast
digest is right here and would be wrong for passwords: the secret is 256 random bits, so there is nothing to
guess that a slow digest would make dearer, and a digest is checked on every request.
"""

import hmac
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

_KEY = re.compile(r"soma_([0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)
_KEY_ID_BYTES = 8
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in the clear: shown to its owner once, never stored and never logged.

    Attributes:
        key_id: Names the key; no secret.
        secret: 256 random bits in hex.
    """

    key_id: str
    secret: str = field(repr=False)

    def reveal(self) -> str:
        """Return the whole key, to be handed to its owner; a method, so that no log line does it."""
        return f"soma_{self.key_id}_{self.secret}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the key that a credential holds, or None when it is not of that form."""
        match = _KEY.fullmatch(text)
        return None if match is None else cls(match[1], match[2])

    def digest(self) -> bytes:
        """Return the 32 bytes that are stored in the secret's place."""
        return sha256(self.secret.encode()).digest()

    def matches(self, digest: bytes) -> bool:
        """Say whether this key's secret has that digest, in a time that does not tell how nearly."""
        return hmac.compare_digest(self.digest(), digest)


def holds_a_key(text: str) -> bool:
    """Say whether an API key stands anywhere in a text."""
    return _KEY.search(text) is not None


def new_key() -> ApiKey:
    """Return a fresh key."""
    return ApiKey(secrets.token_hex(_KEY_ID_BYTES), secrets.token_hex(_SECRET_BYTES))
