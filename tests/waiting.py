"""Wait for what is to happen, as long as it may still come, and show what was seen last."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from contextlib import suppress
from typing import TypeVar

import psutil

T = TypeVar("T")

_PAUSE_SECONDS = 0.02
_COUNTED_AT_LEAST = 0.05


def still_running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those that have not ended; one that nobody has waited for yet, has."""
    found = []
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


class Patience:
    """Runs out after so many seconds in which nothing was seen to change.

    A second counts as far as the processors were idle in it: on a machine that is busy with something else,
    what is waited for had no chance to happen. It counts a twentieth at least, so that every wait ends.

    Args:
        seconds: How long it lasts on a machine that is idle.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._counted = 0.0
        self._looked = time.monotonic()
        self._idle = psutil.cpu_times().idle

    def renew(self) -> None:
        """Begin anew: something has changed."""
        self._counted = 0.0

    def lasts(self) -> bool:
        """Say whether waiting on makes sense."""
        now, idle = time.monotonic(), psutil.cpu_times().idle
        share = (idle - self._idle) / (psutil.cpu_count() or 1)
        self._counted += max(share, (now - self._looked) * _COUNTED_AT_LEAST)
        self._looked, self._idle = now, idle
        return self._counted < self._seconds


async def eventually(
    look: Callable[[], Awaitable[T]], is_so: Callable[[T], object] = bool, *, seconds: float = 30.0
) -> T:
    """Look again and again until it is so; return what was seen.

    Args:
        look: Sees how it is.
        is_so: Whether that is what is waited for.
        seconds: How long to wait on an idle machine without seeing a change.

    Raises:
        AssertionError: It did not become so.
    """
    patience, before = Patience(seconds), None
    while not is_so(seen := await look()):
        if seen != before:
            patience.renew()
        assert patience.lasts(), f"not so after {seconds} idle s; seen last: {seen!r}"
        before = seen
        await asyncio.sleep(_PAUSE_SECONDS)  # noqa: TID251  # real processes are watched, in real time
    return seen


async def eventually_so(
    look: Callable[[], T], is_so: Callable[[T], object] = bool, *, seconds: float = 30.0
) -> T:
    """Do the same where looking needs no waiting."""

    async def looked() -> T:
        return look()

    return await eventually(looked, is_so, seconds=seconds)


def eventually_now(look: Callable[[], T], is_so: Callable[[T], object] = bool, *, seconds: float = 30.0) -> T:
    """Do the same where there is no event loop."""
    patience, before = Patience(seconds), None
    while not is_so(seen := look()):
        if seen != before:
            patience.renew()
        assert patience.lasts(), f"not so after {seconds} idle s; seen last: {seen!r}"
        before = seen
        time.sleep(_PAUSE_SECONDS)  # noqa: TID251  # real processes are watched, in real time
    return seen


def result_of(work: "Future[T]", *, seconds: float = 120.0) -> T:
    """Return what work in another thread returns or raises.

    Raises:
        AssertionError: It did not end.
    """
    patience = Patience(seconds)
    while not wait_for_futures([work], timeout=1.0).done:
        assert patience.lasts(), f"not done after {seconds} idle s"
    return work.result()
