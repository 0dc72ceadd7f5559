"""Namespaces are paths of segments, compared segment by segment."""

import re
from urllib.parse import unquote

from soma_schemas.limits import MAX_NAMESPACE_BYTES, MAX_NAMESPACE_SEGMENTS, MAX_SEGMENT_CHARACTERS

_OTHER_ESCAPE = re.compile("%(?!25|2F)")
# Unicode's categories Cc and Cs, which never change.
_CONTROL_OR_SURROGATE = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")


def namespace_fault(namespace: str) -> str | None:
    """Return why a string is not a canonical namespace, or None when it is one.

    Canonical means 1 to 16 segments joined by `/`, each 1 to 128 characters without control characters,
    in which only `%` and `/` are percent-encoded (as `%25` and `%2F`), so that one path has one spelling;
    and at most 2500 bytes of UTF-8 in all.
    """
    segments = namespace.split("/")
    size = len(namespace.encode(errors="surrogatepass"))
    if size > MAX_NAMESPACE_BYTES:
        return f"has {size} bytes in UTF-8, at most {MAX_NAMESPACE_BYTES} are allowed"
    if len(segments) > MAX_NAMESPACE_SEGMENTS:
        return f"has {len(segments)} segments, at most {MAX_NAMESPACE_SEGMENTS} are allowed"
    for number, segment in enumerate(segments, start=1):
        if not segment:
            return f"segment {number} is empty"
        if _OTHER_ESCAPE.search(segment):
            return f"segment {number} holds a `%` that is not `%25` or `%2F`"
        characters = len(segment) - 2 * segment.count("%")
        if characters > MAX_SEGMENT_CHARACTERS:
            return f"segment {number} has {characters} characters, at most {MAX_SEGMENT_CHARACTERS}"
        if _CONTROL_OR_SURROGATE.search(segment):
            return f"segment {number} holds a control character"
    return None


def ancestors(namespace: str) -> list[str]:
    """Return every prefix of a path, itself last: `a/b/c` gives `a`, `a/b`, `a/b/c`.

    A prefix read matches when the wanted prefix is in this list, so `team/a` never matches `team/ab`.
    """
    segments = namespace.split("/")
    return ["/".join(segments[:count]) for count in range(1, len(segments) + 1)]


def encode_segment(text: str) -> str:
    """Return any text as one segment of a path."""
    return text.replace("%", "%25").replace("/", "%2F")


def decode_segment(segment: str) -> str:
    """Return the text that `encode_segment` was given."""
    return unquote(segment)


def contains(prefix: str, namespace: str) -> bool:
    """Say whether a namespace is the prefix itself or lies below it."""
    return namespace == prefix or namespace.startswith(prefix + "/")
