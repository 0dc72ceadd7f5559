"""The fuzz makes the same records again for the same seed."""

from fuzz.mutation import Mutations
from fuzz.schemas import Written
from judge.contract import SINK_EVENTS
from judge.log import released_schemas


def test_the_same_seed_makes_the_same_records() -> None:
    released = {
        name: Written("released", name, number, versions[-1])
        for number, (name, versions) in enumerate(released_schemas().items())
        if name in SINK_EVENTS
    }
    first, again, other = (
        list(Mutations(seed, released, list(released.values()), [99]).take(500)) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other
    assert sum(each.mutation == "none" for each in first) > 100
