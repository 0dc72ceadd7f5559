"""A request's latency counts from the time that was set for it."""

import asyncio
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from soma_schemas.clock import SystemClock, yield_now


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[3])
    return import_module("benchmarks.load.open_loop").send


async def test_a_server_that_stalls_is_asked_on_and_its_stall_is_in_every_latency(send: Any) -> None:
    goes_on = asyncio.Event()
    asked = 0

    async def stalled(number: int) -> None:
        nonlocal asked
        asked += 1
        if number == 20:
            goes_on.set()
        await goes_on.wait()

    outcome = await send(stalled, 200.0, 0.3, SystemClock())

    assert asked == outcome.planned > 20
    assert len(outcome.latencies) == outcome.planned
    # The first waited for all that came before the stall ended; a client that waits would have asked once.
    assert outcome.latencies[0] >= outcome.latencies[20] - max(outcome.lateness)
    assert sum(latency > outcome.latencies[20] for latency in outcome.latencies) >= 10


async def test_what_fails_or_has_no_answer_is_counted_and_has_no_latency(send: Any) -> None:
    async def asked(number: int) -> None:
        if number % 2:
            raise RuntimeError("no")
        await asyncio.Event().wait()

    outcome = await send(asked, 100.0, 0.2, SystemClock(), patience_seconds=0.01)

    assert outcome.latencies == []
    assert outcome.failures == {
        "RuntimeError": outcome.planned // 2,
        "no answer in time": outcome.planned - outcome.planned // 2,
    }


async def test_the_plan_is_the_same_each_time(send: Any) -> None:
    async def at_once(_: int) -> None:
        await yield_now()

    one, other = [await send(at_once, 300.0, 0.1, SystemClock()) for _ in range(2)]

    assert one.planned == other.planned > 0
