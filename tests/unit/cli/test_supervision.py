"""What ends by itself is started again, with growing pauses, and given up in the end."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from fakes import FakeClock
from soma_cli.local.errors import PartError
from soma_cli.local.home import Home
from soma_cli.local.part import Observer, Part, PartChange, PartState
from soma_cli.local.process import Launch
from soma_cli.local.supervision import GaveUpError, Supervisor, restart_pause
from soma_schemas.clock import yield_now


class Cup(Part):
    """A part without a program, which breaks when told to.

    Attributes:
        starts: How often it was started.
        broken: Whether it fails to start.
    """

    def __init__(self, home: Home, clock: FakeClock, observe: Observer) -> None:
        super().__init__("cup", home, clock, observe)
        self.starts = 0
        self.broken = False

    @property
    def address(self) -> str:
        return "on the shelf"

    async def prepare(self) -> Launch:
        raise AssertionError("this part has no program")

    async def is_ready(self) -> bool:
        return True

    async def start(self) -> None:
        self.starts += 1
        if self.broken:
            self.failure = PartError(
                "the cup has a crack", part="cup", last_lines=("drip", "drop"), remedy="glue it"
            )
            self._become(PartState.FAILED, "cracked")
            raise self.failure
        self._become(PartState.READY)

    def drop(self) -> None:
        """End by itself."""
        self._become(PartState.FAILED, "dropped")


class Kitchen:
    """A supervised cup, and what was heard of it."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.heard: list[PartState] = []
        self._supervisor = Supervisor(self.clock, self._hear)
        self.cup = Cup(Home(folder, Random(1)), self.clock, self._supervisor.observe)

    def _hear(self, change: PartChange) -> None:
        self.heard.append(change.state)

    async def keep_running(self) -> None:
        await self._supervisor.keep_running([self.cup])


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    """A supervised cup."""
    return Kitchen(tmp_path)


def test_each_restart_within_ten_minutes_doubles_the_pause() -> None:
    assert [restart_pause([100.0] * count, 100.0) for count in range(6)] == [0.5, 1.0, 2.0, 4.0, 8.0, None]


def test_restarts_of_long_ago_are_forgiven() -> None:
    assert restart_pause([0.0] * 5, 599.0) is None
    assert restart_pause([0.0] * 5, 600.0) == 0.5


async def test_what_ends_by_itself_is_started_again(kitchen: Kitchen) -> None:
    keeping = asyncio.create_task(kitchen.keep_running())
    kitchen.cup.drop()
    while kitchen.cup.state is not PartState.READY:
        await yield_now()
    keeping.cancel()

    assert kitchen.cup.starts == 1
    assert kitchen.heard == [PartState.FAILED, PartState.READY]
    assert kitchen.clock.slept == [0.5]


async def test_a_second_end_right_after_the_start_is_noticed_too(kitchen: Kitchen) -> None:
    keeping = asyncio.create_task(kitchen.keep_running())
    for number in (1, 2):
        kitchen.cup.drop()
        while kitchen.cup.starts < number:
            await yield_now()
    keeping.cancel()

    assert kitchen.clock.slept == [0.5, 1.0]


async def test_what_cannot_be_started_is_given_up_with_its_last_words(kitchen: Kitchen) -> None:
    kitchen.cup.broken = True
    kitchen.cup.drop()

    with pytest.raises(
        GaveUpError, match=r"cup failed 6 times: the cup has a crack\n  drip\n  drop"
    ) as gave_up:
        await kitchen.keep_running()

    assert kitchen.cup.starts == 5
    assert kitchen.clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert gave_up.value.remedy == "glue it"
