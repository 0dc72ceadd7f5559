"""Collecting rarely is still collecting."""

import gc
from collections.abc import Iterator
from weakref import ref

import pytest

from soma_streams.garbage_collection import collect_rarely

_AS_PYTHON_BEGINS = 700, 10, 10


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Begin as Python does, and leave the collector of the tests as it was."""
    before = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(*_AS_PYTHON_BEGINS)
    yield
    gc.set_threshold(*before)
    gc.freeze()


class Knot:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_the_collector_looks_after_many_more_objects_and_not_among_what_was_loaded() -> None:
    before, *_ = gc.get_threshold()

    collect_rarely()

    assert gc.isenabled()
    assert gc.get_threshold()[0] >= 100 * before
    assert gc.get_freeze_count() > 0


def test_cycles_are_still_collected() -> None:
    collect_rarely()
    last = ref(Knot())

    objects = [[Knot()] for _ in range(gc.get_threshold()[0])]

    assert objects
    assert last() is None
