"""Requests at times that are set beforehand, whether the ones before were answered or not.

A client that waits for an answer before it asks again asks less while the server is slow, so that the slow
moments are missing from its figures (coordinated omission; G. Tene, "How NOT to measure latency", 2013). Here
each request has its time, and its latency counts from that time, not from when it was sent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from soma_schemas.clock import Clock

# Requests that are under way at most. What would be above it counts as not answered.
_MOST_UNDER_WAY = 2_000


@dataclass
class Outcome:
    """What became of the requests of one rate.

    Attributes:
        rate: Requests per second that were planned, at random times (a Poisson process).
        seconds: How long they were sent.
        planned: How many there were.
        latencies: Of those that were answered, in seconds, from their planned times.
        lateness: How long after its time each was sent, in seconds: how well the generator kept its plan.
        failures: How many were refused or not answered, by the kind of error.
    """

    rate: float
    seconds: float
    planned: int = 0
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def answered_per_second(self) -> float:
        """Answers per second of the time that requests were sent."""
        return len(self.latencies) / self.seconds


async def send(
    request: Callable[[int], Awaitable[object]],
    rate: float,
    seconds: float,
    clock: Clock,
    *,
    patience_seconds: float = 10.0,
) -> Outcome:
    """Send requests at a rate, and return what became of them.

    Args:
        request: Makes the request of a number and returns when it is answered.
        rate: Requests per second.
        seconds: How long requests are sent.
        clock: Time.
        patience_seconds: How long the last answers are waited for. A request that has none by then failed.
    """
    random = Random(f"{rate} {seconds}")  # noqa: S311  # the same plan each time is what is wanted
    outcome = Outcome(rate, seconds)
    begin = clock.monotonic()

    async def one(number: int, planned: float) -> None:
        outcome.lateness.append(clock.monotonic() - begin - planned)
        try:
            await request(number)
        except asyncio.CancelledError:
            _count(outcome, "no answer in time")
            raise
        except Exception as error:  # noqa: BLE001  # every kind of failure is a figure
            _count(outcome, type(error).__name__)
        else:
            outcome.latencies.append(clock.monotonic() - begin - planned)

    under_way: set[asyncio.Task[None]] = set()
    at = random.expovariate(rate)
    while at < seconds:
        await clock.sleep(max(0.0, begin + at - clock.monotonic()))
        if len(under_way) < _MOST_UNDER_WAY:
            task = asyncio.create_task(one(outcome.planned, at))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        else:
            _count(outcome, "too many under way")
        outcome.planned += 1
        at += random.expovariate(rate)
    if under_way:
        _, late = await asyncio.wait(under_way, timeout=patience_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    return outcome


def _count(outcome: Outcome, kind: str) -> None:
    outcome.failures[kind] = outcome.failures.get(kind, 0) + 1
