"""How a memory gets its id, held to the vectors that other languages are held to."""

import json
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.identity import (
    MEMORY_NAMESPACE,
    RandomNumbers,
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


class Bytes:
    """A source of bytes that counts, and tells how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, count: int) -> bytes:
        self.asked += 1
        return struct.pack(f"{count // 8}Q", *range(count * self.asked, count * self.asked + count // 8))


def test_random_numbers_are_read_from_their_source_many_at_a_time() -> None:
    source = Bytes()
    numbers = RandomNumbers(source)

    found = [numbers.next() for _ in range(1000)]

    assert len(set(found)) == 1000
    assert source.asked == 2


def test_the_random_bits_of_an_id_are_its_sources() -> None:
    random = RandomNumbers(lambda count: bytes([0xFF]) * count)

    made = new_id(datetime(2026, 3, 2, tzinfo=UTC), random)

    assert made.version == 7
    assert made.int & 0x0FFF_FFFF_FFFF_FFFF_FFFF == 0x0FFF_BFFF_FFFF_FFFF_FFFF


def test_threads_never_get_the_same_number() -> None:
    numbers = RandomNumbers(Bytes())

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: [numbers.next() for _ in range(2000)], range(8)))

    assert len({number for some in found for number in some}) == 16_000


def test_a_fork_makes_other_ids_than_its_parent() -> None:
    # In a process of its own: this one has threads, which a fork would leave behind.
    script = """
import os
from datetime import UTC, datetime
from soma_schemas.identity import new_id

now = datetime.now(UTC)
new_id(now)
reading, writing = os.pipe()
if (child := os.fork()) == 0:
    os.write(writing, new_id(now).bytes)
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reading, 16).hex(), new_id(now).hex)
"""

    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    theirs, ours = ran.stdout.split()
    assert len(theirs) == len(ours) == 32
    assert theirs != ours
