"""How a memory gets its id, held to the vectors that other languages are held to."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.identity import (
    MEMORY_NAMESPACE,
    canonical_coordinate,
    memory_id_for_coordinate,
    memory_id_for_key,
    new_id,
)

VECTORS = json.loads(
    (Path(__file__).parents[3] / "schemas" / "vectors" / "identity.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda vector: vector["key"])
def test_a_key_gives_the_id_of_its_vector(vector: dict[str, Any]) -> None:
    memory_id = memory_id_for_key(vector["tenant"], vector["namespace"], vector["key"])

    assert memory_id == UUID(vector["memory_id"])


@pytest.mark.parametrize("vector", VECTORS["coordinates"], ids=lambda vector: str(vector["coordinate"]))
def test_a_coordinate_gives_the_id_of_its_vector(vector: dict[str, Any]) -> None:
    memory_id = memory_id_for_coordinate(vector["tenant"], vector["namespace"], vector["coordinate"])

    assert canonical_coordinate(vector["coordinate"]) == vector["canonical"]
    assert memory_id == UUID(vector["memory_id"])


def test_the_rule_is_spelt_out_here_once_more_by_other_means() -> None:
    name = "acme\x1fteam/notes\x1fkey\x1ftea"

    assert memory_id_for_key("acme", "team/notes", "tea") == uuid5(MEMORY_NAMESPACE, name)


def test_a_key_and_a_coordinate_that_look_alike_are_two_memories() -> None:
    coordinate = [1.0]
    key = canonical_coordinate(coordinate)

    assert memory_id_for_key("acme", "n", key) != memory_id_for_coordinate("acme", "n", coordinate)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=16))
def test_equal_coordinates_have_one_spelling(coordinate: list[float]) -> None:
    mirrored = [-number if number == 0 else number for number in coordinate]

    assert canonical_coordinate(coordinate) == canonical_coordinate(mirrored)


def test_new_ids_are_version_7_and_sort_by_time() -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)

    ids = [new_id(start + timedelta(milliseconds=step)) for step in range(50)]

    assert {memory_id.version for memory_id in ids} == {7}
    assert ids == sorted(ids)
    assert ids[0].int >> 80 == int(start.timestamp() * 1000)
