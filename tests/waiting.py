"""Wait for what is to happen, with a deadline, and show what was seen last."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_SECONDS = 0.02


async def eventually(
    look: Callable[[], Awaitable[T]], is_so: Callable[[T], bool], *, seconds: float = 30.0
) -> T:
    """Look again and again until it is so; return what was seen.

    Raises:
        AssertionError: It did not become so in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = await look()
        if is_so(seen):
            return seen
        assert time.monotonic() < deadline, f"not so after {seconds} s; seen last: {seen!r}"
        await asyncio.sleep(_PAUSE_SECONDS)  # noqa: TID251  # real processes are watched, in real time


def eventually_now(look: Callable[[], T], is_so: Callable[[T], bool], *, seconds: float = 30.0) -> T:
    """Do the same where there is no event loop.

    Raises:
        AssertionError: It did not become so in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if is_so(seen):
            return seen
        assert time.monotonic() < deadline, f"not so after {seconds} s; seen last: {seen!r}"
        time.sleep(_PAUSE_SECONDS)  # noqa: TID251  # real processes are watched, in real time
