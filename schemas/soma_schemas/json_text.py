"""JSON as it comes in: one rule for its numbers, whoever reads it.

A number with a fraction or an exponent is kept as the double nearest to it, an integer as it is. What no
double can be is refused: larger than the largest, or so small that only zero is near.
"""

import json
import math
import re
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from soma_schemas.violations import ViolationCode, place_within

LARGEST_DOUBLE = (2**53 - 1) * 2**971
# So many characters without an exponent have at most 15 digits and a point, which every double tells apart.
CERTAIN_CHARACTERS = 16
# PostgreSQL takes 16,383 decimals, and writes as many as it was given.
_LONGEST_KEPT = 32
_NOT_ZERO = re.compile("[1-9]")
# Whatever `read_json` refuses for its size has one of these.
_FAR_FROM_ONE = re.compile(rb"[0-9][eE][-+]?0*[1-9][0-9]{2}|[0-9]{200}")
_TOO_LARGE = (ViolationCode.NOT_FINITE, "holds a number larger than a double can be")


class JsonError(ValueError):
    """A text is no JSON, or holds a number that cannot be kept.

    Attributes:
        code: Which of the two.
        within: Where that number lies in the text, as a JSON pointer; empty for the whole.
    """

    def __init__(self, code: ViolationCode, message: str, within: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.within = within


class ReadJson(NamedTuple):
    """What a text says.

    Attributes:
        value: With numbers as `int` and as finite `float`.
        respelled: Whether the text writes a number otherwise than it is kept: `json_text` does not.
    """

    value: Any
    respelled: bool


def read_json(text: str | bytes) -> ReadJson:
    """Read JSON.

    Raises:
        JsonError: It is none, nests too deep to be read, or holds a number that cannot be kept.
    """
    try:
        return _READER.read(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise JsonError(ViolationCode.TOO_DEEP, "nests too deep to be read") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise JsonError(ViolationCode.NOT_JSON, "is not JSON") from error
    except JsonError as error:
        raise JsonError(error.code, str(error), _place_of_unkept(text)) from None
    except ValueError:
        raise JsonError(
            *_TOO_LARGE, _place_of_unkept(text)
        ) from None  # so many digits that Python reads none


def number_of(text: str) -> int | float:  # an integer stays one
    """Read one number as JSON writes it.

    Raises:
        JsonError: It is none, or cannot be kept.
    """
    value = read_json(text).value
    if type(value) not in {int, float}:
        raise JsonError(ViolationCode.NOT_JSON, "is not a number")
    if abs(value) > LARGEST_DOUBLE:
        raise too_large()
    number: int | float = value
    return number


def json_text(value: object) -> str:
    """Return a value as JSON, without spaces; numbers are written as they are kept."""
    return _ENCODER.encode(value)


def may_hold_what_no_double_is(text: bytes) -> bool:
    """Say whether JSON may hold a number that `read_json` refuses, for who reads it with another library."""
    return _FAR_FROM_ONE.search(text) is not None


def repeats_a_name(text: bytes) -> bool:
    """Say whether an object in valid JSON has one name twice: readers differ in which of the two counts."""
    try:
        json.loads(text, object_pairs_hook=_unique)
    except _RepeatedNameError:
        return True
    return False


class _RepeatedNameError(Exception):
    """An object has a name twice."""


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _RepeatedNameError


def too_large() -> JsonError:
    """Return the error for a number beyond the largest double."""
    return JsonError(*_TOO_LARGE)


class _Reader(threading.local):
    """Reads JSON, one text at a time. Kept: making a decoder takes longer than reading a small text."""

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(parse_float=self._number, parse_constant=_refuse_constant)
        self._respelled = False

    def read(self, text: str) -> ReadJson:
        self._respelled = False
        value = self._decoder.decode(text)
        return ReadJson(value, self._respelled)

    def _number(self, literal: str) -> float:
        value = _double(literal)
        self._respelled |= not _is_kept(literal, value)
        return value


def _double(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise too_large()
    if value == 0 and _NOT_ZERO.search(re.split("[eE]", literal)[0]):
        raise JsonError(ViolationCode.OUT_OF_RANGE, "holds a number closer to zero than a double can be")
    return value


def _place_of_unkept(text: str | bytes) -> str:
    """Return where the first number that cannot be kept lies in a text that is refused for it."""
    unkept = object()

    def read(number: Callable[[str], Any]) -> Callable[[str], Any]:
        def tried(literal: str) -> Any:
            try:
                return number(literal)
            except ValueError:
                return unkept

        return tried

    decoder = json.JSONDecoder(
        parse_float=read(_double), parse_int=read(int), parse_constant=read(_refuse_constant)
    )
    try:
        value = decoder.decode(text if isinstance(text, str) else text.decode())
    except (json.JSONDecodeError, RecursionError):
        return ""  # behind that number it is no JSON
    seen: list[tuple[tuple[int | str, ...], Any]] = [((), value)]
    while seen:
        place, item = seen.pop()
        if item is unkept:
            return place_within(place)
        parts = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
        seen += [((*place, part), child) for part, child in reversed(list(parts))]
    return ""  # a later value of the same name stands in its place


def _is_kept(literal: str, value: float) -> bool:
    """Say whether a literal has the very value that a double is written with."""
    if len(literal) <= CERTAIN_CHARACTERS and "e" not in literal and "E" not in literal:
        return True
    shortest = repr(value)
    if literal == shortest:
        return True
    return value != 0 and len(literal) <= _LONGEST_KEPT and Decimal(literal) == Decimal(shortest)


def _refuse_constant(name: str) -> NoReturn:
    del name
    raise JsonError(ViolationCode.NOT_FINITE, "holds a number that is not finite")


_READER = _Reader()
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
