"""Numbers of fields of any name in two shared indexes."""

import itertools
import math
from collections.abc import Mapping

from hypothesis import example, given
from hypothesis import strategies as st

from soma_schemas.vectors.numbers import EncodedNumbers, encoded, spans

_finite = st.floats(allow_nan=False, allow_infinity=False)
_BOUNDS = ("at_least", "above", "at_most", "below")


def _holds(point: EncodedNumbers, name: str, **bounds: float) -> bool:
    """Ask as an engine does: a mark, and a half in each span of one alternative."""
    return any(
        each in point.marks
        and any(
            any(span.highs[0] <= high <= span.highs[1] for high in point.highs)
            and (span.lows is None or any(span.lows[0] <= low <= span.lows[1] for low in point.lows))
            for span in some
        )
        for each, some in spans(name, **bounds)
    )


@given(_finite, _finite, st.fixed_dictionaries({}, optional=dict.fromkeys(_BOUNDS, _finite)))
@example(0.0, 1.0, {"at_least": -0.0, "at_most": -0.0})
@example(-0.0, 1.0, {"above": -0.0})
@example(5e-324, -5e-324, {"above": 0.0, "at_most": 5e-324})
@example(1.7976931348623157e308, 0.0, {"at_least": 1.7976931348623157e308})
@example(2.0**32, 2.0**32 + 2**-20, {"at_least": 2.0**32, "below": 2.0**32 + 2**-20})
def test_a_range_holds_the_numbers_that_compare_so_and_no_other_field_of_the_point(
    number: float, other: float, bounds: Mapping[str, float]
) -> None:
    point = encoded([("other", other), ("price", number)])

    assert _holds(point, "price", **bounds) == (
        number >= bounds.get("at_least", -math.inf)
        and number > bounds.get("above", -math.inf)
        and number <= bounds.get("at_most", math.inf)
        and number < bounds.get("below", math.inf)
    )


@given(st.dictionaries(st.text(), _finite), st.text())
def test_a_point_without_the_field_is_in_no_range_of_it(numbers: Mapping[str, float], name: str) -> None:
    assert _holds(encoded(numbers.items()), name) == (name in numbers)


def test_numbers_of_two_fields_of_one_name_are_both_in_ranges_of_it() -> None:
    point = encoded([("price", 1.0), ("price", 5.0)])

    assert _holds(point, "price", at_most=1.0)
    assert _holds(point, "price", at_least=5.0)
    assert not _holds(point, "price", above=1.0, below=5.0)


def test_bounds_of_any_range_are_whole_numbers_that_float64_has() -> None:
    bounds = [-1.7976931348623157e308, -0.1, 0.0, 0.1, 3.0, 1.7976931348623157e308]
    for low, high in itertools.combinations(bounds, 2):
        for _, some in spans("price", above=low, at_most=high):
            for span in some:
                for bound in (*span.highs, *(span.lows or ())):
                    assert int(float(bound)) == bound < 2**53


def test_two_fields_that_share_a_code_are_both_in_their_ranges_and_not_in_the_other_s() -> None:
    one, other = _names_with_one_code()
    point = encoded([(one, 1.0), (other, 2.0)])

    assert next(spans(other))[0] not in point.marks
    assert _holds(point, one, at_least=1.0, at_most=1.0)
    assert _holds(point, other, at_least=2.0, at_most=2.0)
    assert not _holds(point, one, at_least=2.0, at_most=2.0)
    assert not _holds(point, other, at_least=1.0, at_most=1.0)
    assert not _holds(encoded([(one, 1.0)]), other)


def _names_with_one_code() -> tuple[str, str]:
    seen: dict[int, str] = {}
    for number in itertools.count():
        name = f"field {number}"
        code = encoded([(name, 0.0)]).highs[0]
        if code in seen:
            return seen[code], name
        seen[code] = name
    raise AssertionError
