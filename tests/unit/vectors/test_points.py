"""Identity of points, and what no point may hold."""

import math
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.vectors.build import a_point
from soma_schemas.vectors.index_errors import UnfitVectorError
from soma_schemas.vectors.points import Point, point_id, unit_vector

_MEMORY = UUID("0195a3c4-0000-7000-8000-000000000001")


def test_the_id_of_a_point_is_fixed_for_ever() -> None:
    assert point_id("acme", _MEMORY) == UUID("bef856a2-c6d9-5f08-ba05-a39a9d42d850")


def test_tenants_have_different_points_for_one_memory_id() -> None:
    assert point_id("acme", _MEMORY) != point_id("globex", _MEMORY)


@pytest.mark.parametrize(
    "dense",
    [
        (math.nan, 0.0, 0.0, 0.0),
        (math.inf, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0),
        (2.0, 0.0, 0.0, 0.0),
        (1e308, 1e308, 0.0, 0.0),
    ],
)
def test_a_point_whose_vector_is_not_of_length_one_cannot_be_made(dense: tuple[float, ...]) -> None:
    with pytest.raises(UnfitVectorError):
        a_point(dense=dense)


@given(st.lists(st.floats(-1e300, 1e300).filter(lambda x: abs(x) > 1e-150 or x == 0), min_size=1, max_size=9))
def test_a_vector_keeps_its_direction_and_gets_length_one(numbers: list[float]) -> None:
    unit = unit_vector(numbers)

    if not any(numbers):
        assert unit is None
    else:
        assert unit is not None
        assert math.hypot(*unit) == pytest.approx(1.0)
        assert all(a * b >= 0 for a, b in zip(unit, numbers, strict=True))
        Point(_MEMORY, 1, {}, unit, None)


def test_a_vector_longer_than_any_number_still_has_a_direction() -> None:
    assert unit_vector([1.7e308, 1.7e308]) == pytest.approx([math.sqrt(0.5)] * 2)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_vector_that_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(UnfitVectorError, match="not finite"):
        unit_vector([1.0, number])
