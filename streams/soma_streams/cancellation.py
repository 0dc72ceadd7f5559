"""Work that a stop ends, and work that no cancellation may break off."""

import asyncio
from collections.abc import Awaitable
from typing import Any


async def done_before(stop: asyncio.Event, work: Awaitable[Any]) -> bool:
    """Do what a start waits for, unless `stop` is set meanwhile: whoever is away may be so for long.

    Returns:
        Whether it was done; it was cancelled otherwise.

    Raises:
        Exception: What the work raises.
    """
    working, stopping = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        await end(working, stopping)


async def to_the_end(work: Awaitable[Any]) -> None:
    """Do the work in a task of its own, however often the caller is cancelled meanwhile; then be cancelled.

    A stop that is broken off, or that runs in a task that was cancelled before, leaves Faust's thread behind,
    which keeps the process.

    Raises:
        Exception: What the work raises.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they are over, whatever they raise."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
