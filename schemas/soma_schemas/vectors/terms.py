"""The fields of a memory's own payload as an index can look them up: equality as terms, ranges as numbers."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Any

Scalar = str | int | float | bool | None

# What lies deeper, or comes after so many, is kept but cannot be filtered by.
MAX_FILTERABLE_DEPTH = 8
MAX_FILTERABLE_FIELDS = 256

_LONGEST_PLAIN_TERM = 256
_UNSAFE = re.compile(r"[^A-Za-z0-9]")


def filterable(payload: str) -> tuple[list[str], dict[str, float]]:
    """Return the terms and the numbers of a payload.

    A field is named by its path, the names of the objects above it joined by dots. A list of scalars counts
    as a field that has each of its values.

    Args:
        payload: A JSON object as text.

    Returns:
        One term for each field and value; and the numbers by field name, for ranges.
    """
    if payload == "{}":
        return [], {}
    terms: dict[str, None] = {}
    numbers: dict[str, float] = {}
    for count, (path, value) in enumerate(_scalars("", json.loads(payload), 1), start=1):
        if count > MAX_FILTERABLE_FIELDS:
            break
        if isinstance(value, list):
            terms |= dict.fromkeys(term(path, item) for item in value[:MAX_FILTERABLE_FIELDS])
            continue
        terms[term(path, value)] = None
        number = _number(value)
        if number is not None:
            numbers[number_name(path)] = number
    return list(terms), numbers


def term(path: str, value: Scalar) -> str:
    """Return how `this field has this value` is spelt. 1 and 1.0 are one value, 1 and true are not."""
    spelt = f"{path}={_spelling(value)}"
    if len(spelt) <= _LONGEST_PLAIN_TERM:
        return spelt
    # No plain term lacks a `=`, so a digest is never taken for one.
    return "#" + hashlib.blake2b(spelt.encode(), digest_size=16).hexdigest()


def number_name(path: str) -> str:
    """Return a field's name among the numbers: letters and digits as they are, all else as code points.

    Paths of the engines give a meaning to dots, brackets and quotes; this leaves none of them.
    """
    return _UNSAFE.sub(lambda match: f"_{ord(match[0]):x}_", path)


def filter_number(number: float) -> float:
    """Return a number as filters compare it: to 15 significant digits, on the stored side and in bounds.

    The embedded engine reads more digits than that back wrong by one in the last place, so that a box around
    exactly one coordinate would miss it. Rounding keeps the order, so nothing that matches is lost.
    """
    rounded = float(f"{number:.15g}")
    return rounded if math.isfinite(rounded) else number  # the largest numbers would round beyond float64


def _scalars(path: str, value: dict[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for name, child in value.items():
        here = f"{path}.{name}" if path else name
        match child:
            case dict():
                if depth < MAX_FILTERABLE_DEPTH:
                    yield from _scalars(here, child, depth + 1)
            case list():
                scalars = [item for item in child if not isinstance(item, dict | list)]
                if scalars:
                    yield here, scalars
            case _:
                yield here, child


def _spelling(value: Scalar) -> str:
    if isinstance(value, str):
        return encode_basestring(value)  # what `json.dumps` arrives at, without its detours
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return filter_number(number) if math.isfinite(number) else None
