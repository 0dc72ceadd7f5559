"""Headers that tell browsers and caches what they must not do with an answer; and which origins may ask."""

from base64 import b64encode
from datetime import timedelta
from hashlib import sha256

Headers = tuple[tuple[bytes, bytes], ...]

# An answer is data: nothing in it is to be run, framed, kept, or taken for another type.
_ALWAYS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)

# What a page of an allowed origin may send, and may read of an answer, besides what every page may.
ASKED_BY_BROWSERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Prefer",
    "Soma-Max-Staleness",
    "Soma-Position",
    "X-Api-Key",
    "X-Request-Id",
    "traceparent",
    "tracestate",
)
READ_BY_BROWSERS = (
    "Allow",
    "ETag",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Soma-Staleness",
    "WWW-Authenticate",
    "X-Request-Id",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def security_headers(hsts_max_age: timedelta | None) -> Headers:
    """Return what every answer has that says nothing else for the same header.

    Args:
        hsts_max_age: How long browsers use TLS alone; None where clients do not come through TLS.
    """
    if hsts_max_age is None:
        return _ALWAYS
    seconds = round(hsts_max_age.total_seconds())
    return (*_ALWAYS, (b"strict-transport-security", f"max-age={seconds}".encode()))


def policy_of_page(script: str) -> str:
    """Return the content security policy of a page that runs this script of its own, and files of this host.

    Args:
        script: As it stands between the tags.
    """
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; "
        # Swagger UI sets styles of elements, and has its icons within its style sheet.
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
