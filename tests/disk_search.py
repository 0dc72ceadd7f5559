"""Finds a word in all bytes below a folder: plain, UTF-16, base64, hexadecimal, and in Kafka batches."""

import base64
from collections.abc import Iterator
from pathlib import Path

import cramjam

_BATCH_HEADER = 61
_ATTRIBUTES = 21
_LENGTH = 8
_CODECS = {1: cramjam.gzip.decompress, 3: cramjam.lz4.decompress, 4: cramjam.zstd.decompress}


def forms(word: str | bytes) -> tuple[bytes, ...]:
    """Every way in which a part might have written a word down, or bytes that are none."""
    plain = word.encode() if isinstance(word, str) else word
    # Of each of the three ways to begin, what does not depend on its neighbours.
    in_base64 = tuple(base64.b64encode(b"\0" * skip + plain)[4 if skip else 0 : -4] for skip in range(3))
    in_hex = plain.hex().encode()
    wide = (word.encode("utf-16-le"), word.encode("utf-16-be")) if isinstance(word, str) else ()
    return (plain, *wide, in_hex, in_hex.upper(), *in_base64)


def files_with(folder: Path, word: str | bytes) -> list[Path]:
    """The files below a folder that hold a word, or bytes, in any form, by their paths there."""
    wanted = forms(word)
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and not each.is_symlink()):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # a part has just deleted it
        texts = [content, *(_batches(content) if path.suffix == ".log" else ())]
        if any(form in text for text in texts for form in wanted):
            found.append(path.relative_to(folder))
    return found


def _batches(segment: bytes) -> Iterator[bytes]:
    """What the batches of a segment hold, decompressed."""
    at = 0
    while at + _BATCH_HEADER <= len(segment):
        end = at + 12 + int.from_bytes(segment[at + _LENGTH : at + 12], "big")
        codec = _CODECS.get(segment[at + _ATTRIBUTES + 1] & 7)
        if end <= at + _BATCH_HEADER or end > len(segment):
            return  # a file of zeros that is filled later, or a log that is none of Kafka's
        if codec is not None:
            yield bytes(codec(segment[at + _BATCH_HEADER : end]))
        at = end
