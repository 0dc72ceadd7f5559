"""Says in SQL/JSON path language what a payload holds, as searches mean it."""

import json
import math
from collections.abc import Iterator, Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

from soma_api.queries.filter_terms import NumberRange
from soma_schemas.vectors.terms import Scalar, number_spelling

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)

_NEVER = "@ != @"

# Predicates are strict: otherwise they would look into lists on their way. What a payload lacks makes a
# comparison unknown, which is as good as false.


def has_one_of(path: str, values: Sequence[Scalar]) -> str:
    """Return a path predicate that is true of payloads with a field that has one of these values.

    Args:
        path: The field; a dot in it stands in a payload's name, or between an object's and that of its field.
        values: Of none, no payload has one.
    """
    test = " || ".join(f"@ == {_literal(value)}" for value in values) or _NEVER
    return _any(path, f" ? ({test})", f"[*] ? ({test})")


def has_number_within(path: str, bounds: NumberRange) -> str:
    """Return a path predicate that is true of payloads with a number in a range in a field.

    A payload keeps its numbers as decimals, and the index the double nearest to each. So a bound is told as
    the end of all decimals whose nearest double is in the range.
    """
    tests = [
        *([] if bounds.at_least is None else _from(bounds.at_least, down=True)),
        *([] if bounds.above is None else _from(bounds.above, down=False)),
        *([] if bounds.at_most is None else _until(bounds.at_most, up=True)),
        *([] if bounds.below is None else _until(bounds.below, up=False)),
    ]
    # Without a bound any number: only numbers can be compared with one.
    return _any(path, f" ? ({' && '.join(tests) or '(@ >= 0 || @ < 0)'})")


def has_field(path: str) -> str:
    """Return a path predicate that is true of payloads with this field, whatever its value."""
    return _any(path, "")


def _any(path: str, *endings: str) -> str:
    return f"strict {' || '.join(_alternatives('$', path.split('.'), endings))}"


def _alternatives(above: str, parts: list[str], endings: Sequence[str]) -> Iterator[str]:
    """Yield a test for each way in which the first names of a payload can be made of the first parts.

    Nested, not spelt out: where the first name is missing, none of its ways on is tried.
    """
    for count in range(1, len(parts)):
        name = json.dumps(".".join(parts[:count]))
        rest = " || ".join(_alternatives("@", parts[count:], endings))
        yield f"exists({above}.{name} ? ({rest}))"
    name = json.dumps(".".join(parts))
    for ending in endings:
        yield f"exists({above}.{name}{ending})"


def _literal(value: Scalar) -> str:
    if isinstance(value, bool | str) or value is None:
        return json.dumps(value)
    return number_spelling(value)


def _from(bound: float, *, down: bool) -> Iterator[str]:
    """Yield what decimals are whose double is at least a bound, or above it where not `down`."""
    beside = math.nextafter(bound, -math.inf if down else math.inf)
    if math.isinf(beside):
        if not down:
            yield _NEVER  # no double is above the largest
        return
    first = bound if down else beside
    yield f"@ {'>=' if _is_even(first) else '>'} {_between(bound, beside)}"


def _until(bound: float, *, up: bool) -> Iterator[str]:
    """Yield what decimals are whose double is at most a bound, or below it where not `up`."""
    beside = math.nextafter(bound, math.inf if up else -math.inf)
    if math.isinf(beside):
        if not up:
            yield _NEVER
        return
    last = bound if up else beside
    yield f"@ {'<=' if _is_even(last) else '<'} {_between(bound, beside)}"


def _between(one: float, other: float) -> str:
    """Return the decimal in the middle of two neighbours, which is nearest to the even one of them."""
    return number_spelling(_EXACT.multiply(_EXACT.add(Decimal(one), Decimal(other)), Decimal("0.5")))


def _is_even(number: float) -> bool:
    mantissa, exponent = math.frexp(number)
    # Doubles below the smallest normal have fewer digits, the last of them always 2**-1074.
    digits = min(53, exponent + 1074)
    return int(math.ldexp(abs(mantissa), digits)) % 2 == 0
