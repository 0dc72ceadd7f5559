"""The fields of a memory's own payload as an index can look them up: equality as terms, ranges as numbers."""

import hashlib
import json
import math
from collections.abc import Iterator
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from itertools import islice
from json.encoder import encode_basestring
from typing import Any

Scalar = str | int | float | Decimal | bool | None

# A name has as many parts between dots at most; what has more, or comes after so many fields, or so many
# values in a list, is kept but cannot be searched by.
MAX_FILTERABLE_DEPTH = 8
MAX_FILTERABLE_FIELDS = 256

_LONGEST_PLAIN_TERM = 256
_PAYLOADS = json.JSONDecoder(parse_float=Decimal)
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def filterable(payload: str) -> tuple[list[str], list[tuple[str, float]]]:
    """Return the terms and the numbers of a payload.

    A field is named by its path, the names of the objects above it joined by dots. A list of scalars counts
    as a field that has each of its values. Two fields of one name count both.

    Args:
        payload: A JSON object as text.

    Returns:
        One term for each field, one for each field and value; and the numbers with the names of their fields,
        for ranges.
    """
    if payload == "{}":
        return [], []
    terms: dict[str, None] = {}
    numbers: list[tuple[str, float]] = []
    fields = _fields("", _PAYLOADS.decode(payload), MAX_FILTERABLE_DEPTH)
    for path, value in islice(fields, MAX_FILTERABLE_FIELDS):
        terms[presence(path)] = None
        match value:
            case dict():
                pass
            case list():
                scalars = [item for item in value if not isinstance(item, dict | list)]
                terms |= dict.fromkeys(term(path, item) for item in scalars[:MAX_FILTERABLE_FIELDS])
            case _:
                terms[term(path, value)] = None
                number = _number(value)
                if number is not None:
                    numbers.append((path, number))
    return list(terms), numbers


def presence(path: str) -> str:
    """Return how `there is this field` is spelt. No value's spelling ends in `?`."""
    return short_term(f"{path}=?")


def term(path: str, value: Scalar) -> str:
    """Return how `this field has this value` is spelt. 1 and 1.0 are one value, 1 and true are not."""
    return short_term(f"{path}={_spelling(value)}")


def short_term(spelt: str) -> str:
    """Return a term, or its digest when it is long. Plain terms have a `=`, so none is taken for a digest."""
    if len(spelt) <= _LONGEST_PLAIN_TERM:
        return spelt
    return "#" + hashlib.blake2b(spelt.encode(), digest_size=16).hexdigest()


def name_parts(name: str) -> int:
    """Return how many parts dots make of a name."""
    return name.count(".") + 1


def filter_number(number: float) -> float:
    """Return a number as filters compare it: to 15 significant digits, on the stored side and in bounds.

    The embedded engine reads more digits than that back wrong by one in the last place, so that a box around
    exactly one coordinate would miss it. Rounding keeps the order, so nothing that matches is lost.
    """
    rounded = float(f"{number:.15g}")
    return rounded if math.isfinite(rounded) else number  # the largest numbers would round beyond float64


def _fields(above: str, value: dict[str, Any], parts_left: int) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an object; `above` is empty, or the names above it with a dot after each."""
    for name, child in value.items():
        left = parts_left - name_parts(name)
        if left < 0:
            continue
        path = above + name
        yield path, child
        if isinstance(child, dict):
            yield from _fields(f"{path}.", child, left)


def _spelling(value: Scalar) -> str:
    match value:
        case str():
            return encode_basestring(value)  # what `json.dumps` arrives at, without its detours
        case bool() | None:
            return json.dumps(value)
        case _:
            return number_spelling(value)


def number_spelling(number: float | Decimal) -> str:
    """Return how a number is spelt in a term: by its decimal value, of which a float has the shortest.

    PostgreSQL compares numbers of JSON by that value too, so that lists and searches agree.
    """
    exact = number if isinstance(number, Decimal) else Decimal(str(number))
    return str(exact.normalize(_EXACT)) if exact else "0"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
