"""Page cursors: opaque to the client, and signed."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from soma_api.problems import InvalidCursorError

_SIGNATURE_BYTES = 16


class Cursors:
    """Makes and reads cursors.

    A cursor holds the sort key of the last row and belongs to one tenant and one query: with other filters
    or another order it is refused, because it would skip or repeat rows.

    Args:
        secret: Signs; the same in every replica.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, tenant: str, query: Mapping[str, Any], after: Sequence[Any]) -> str:
        """Return the cursor that goes on after a row.

        Args:
            tenant: Whose list it is.
            query: The filters and the order, JSON-ready.
            after: The row's sort key, JSON-ready.
        """
        body = orjson.dumps(list(after))
        return urlsafe_b64encode(self._sign(tenant, query, body) + body).decode().rstrip("=")

    def read(self, cursor: str, tenant: str, query: Mapping[str, Any]) -> list[Any]:
        """Return the sort key after which the list goes on.

        Raises:
            InvalidCursorError: It was altered, or made for another tenant or query.
        """
        try:
            raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except (Base64Error, ValueError):
            raise _refused() from None
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        genuine = hmac.compare_digest(signature, self._sign(tenant, query, body))
        # The decoder drops foreign characters and spare bits: only the spelling that we made is the cursor.
        if not genuine or urlsafe_b64encode(raw).decode().rstrip("=") != cursor:
            raise _refused()
        after: list[Any] = orjson.loads(body)
        return after

    def _sign(self, tenant: str, query: Mapping[str, Any], body: bytes) -> bytes:
        signed = orjson.dumps([tenant, query], option=orjson.OPT_SORT_KEYS) + b"\0" + body
        return hmac.digest(self._secret, signed, sha256)[:_SIGNATURE_BYTES]


def _refused() -> InvalidCursorError:
    return InvalidCursorError("the cursor was altered, or made for another query")
