import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_api.watermark_waiter import READABLE, SETTLED, WatermarkWaiter
from soma_schemas.clock import yield_now
from soma_schemas.groups import SinkGroup
from soma_schemas.versions import Position

LONG = 5.0
SHORT = 0.01


@pytest.fixture
async def waiter() -> WatermarkWaiter:
    return WatermarkWaiter()


async def test_a_position_that_was_passed_is_not_waited_for(waiter: WatermarkWaiter) -> None:
    waiter.advance("soma-postgres", 3, 1043)

    assert await waiter.wait(READABLE, [Position(3, 1042)], 0.0)


async def test_a_watermark_at_the_position_has_not_passed_it(waiter: WatermarkWaiter) -> None:
    waiter.advance("soma-postgres", 3, 1042)

    assert not waiter.passed(READABLE, [Position(3, 1042)])
    assert not await waiter.wait(READABLE, [Position(3, 1042)], SHORT)


async def test_a_wait_ends_when_the_watermark_passes(waiter: WatermarkWaiter) -> None:
    waiting = asyncio.create_task(waiter.wait(READABLE, [Position(3, 1042)], LONG))
    await yield_now()

    waiter.advance("soma-postgres", 3, 1043)

    assert await waiting


async def test_a_wait_for_both_sinks_does_not_end_with_one(waiter: WatermarkWaiter) -> None:
    waiting = asyncio.create_task(waiter.wait(SETTLED, [Position(0, 5)], LONG))
    await yield_now()

    waiter.advance(SinkGroup.POSTGRES, 0, 6)
    await yield_now()
    assert not waiting.done()
    waiter.advance(SinkGroup.VECTORS, 0, 6)

    assert await waiting


async def test_a_wait_for_many_positions_ends_with_the_last(waiter: WatermarkWaiter) -> None:
    waiting = asyncio.create_task(
        waiter.wait(READABLE, [Position(0, 5), Position(0, 9), Position(1, 2)], LONG)
    )
    await yield_now()

    waiter.advance("soma-postgres", 1, 3)
    waiter.advance("soma-postgres", 0, 6)
    await yield_now()
    assert not waiting.done()
    waiter.advance("soma-postgres", 0, 10)

    assert await waiting


async def test_another_partition_wakes_nobody(waiter: WatermarkWaiter) -> None:
    waiter.advance("soma-postgres", 1, 9999)

    assert not await waiter.wait(READABLE, [Position(0, 5)], SHORT)


async def test_a_watermark_never_goes_back(waiter: WatermarkWaiter) -> None:
    waiter.advance("soma-postgres", 0, 10)
    waiter.advance("soma-postgres", 0, 4)

    assert waiter.next_offset("soma-postgres", 0) == 10


async def test_a_sink_in_another_thread_can_advance_it(waiter: WatermarkWaiter) -> None:
    waiting = asyncio.create_task(waiter.wait(READABLE, [Position(0, 5)], LONG))
    await yield_now()

    sink = threading.Thread(target=waiter.advance, args=("soma-postgres", 0, 6))
    sink.start()

    assert await waiting
    sink.join()


async def test_who_gave_up_or_was_cancelled_is_forgotten(waiter: WatermarkWaiter) -> None:
    assert not await waiter.wait(SETTLED, [Position(0, 5)], SHORT)
    cancelled = asyncio.create_task(waiter.wait(SETTLED, [Position(0, 5)], LONG))
    await yield_now()
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)

    assert waiter._waiting == {}
    assert not waiter._somebody.is_set()


async def test_it_knows_whether_anybody_waits(waiter: WatermarkWaiter) -> None:
    somebody = asyncio.create_task(waiter.somebody_waits())
    await yield_now()
    assert not somebody.done()

    waiting = asyncio.create_task(waiter.wait(READABLE, [Position(0, 5)], LONG))
    await asyncio.wait_for(somebody, LONG)

    waiter.advance("soma-postgres", 0, 6)
    assert await waiting


@given(
    st.lists(st.tuples(st.sampled_from(list(SinkGroup)), st.integers(0, 2), st.integers(0, 6)), max_size=30),
    st.lists(st.builds(Position, st.integers(0, 2), st.integers(0, 5), st.just(1)), min_size=1, max_size=6),
)
def test_a_wait_ends_exactly_when_every_sink_has_passed_every_position(
    advances: list[tuple[SinkGroup, int, int]], positions: list[Position]
) -> None:
    async def run() -> None:
        waiter = WatermarkWaiter()
        waiting = asyncio.create_task(waiter.wait(SETTLED, positions, LONG))
        await yield_now()
        reached: dict[tuple[SinkGroup, int], int] = {}
        for group, partition, next_offset in advances:
            waiter.advance(group, partition, next_offset)
            reached[group, partition] = max(next_offset, reached.get((group, partition), 0))
            await yield_now()
            await yield_now()
            passed = all(
                reached.get((group, position.partition), 0) > position.offset
                for position in positions
                for group in SETTLED
            )
            assert waiting.done() is passed
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(run())


async def test_what_an_earlier_epoch_had_is_passed_in_every_partition_once_another_has_begun(
    waiter: WatermarkWaiter,
) -> None:
    waiter.advance("soma-postgres", 0, 5)
    waiting = asyncio.create_task(waiter.wait(READABLE, [Position(0, 90), Position(3, 7)], LONG))
    await yield_now()
    assert not waiting.done()

    waiter.begin(2)

    assert await waiting
    assert waiter.next_offset("soma-postgres", 0) == 0


async def test_a_position_of_another_epoch_is_not_passed_by_an_offset_of_this_one(
    waiter: WatermarkWaiter,
) -> None:
    waiter.advance("soma-postgres", 0, 90)
    assert not waiter.passed(READABLE, [Position(0, 5, epoch=2)])
    waiter.begin(2)

    waiter.advance("soma-postgres", 0, 91)  # told late, by the epoch before

    assert not waiter.passed(READABLE, [Position(0, 5, epoch=2)])
    waiter.advance("soma-postgres", 0, 6, epoch=2)
    assert waiter.passed(READABLE, [Position(0, 5, epoch=2)])
    assert waiter.covers("soma-postgres", {0: 1000}, epoch=1)
