"""Tasks of one event loop: several at once, the first of several, and what blocks."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def together(*steps: Coroutine[None, None, None]) -> None:
    """Do several things at once; the first that fails ends the others, and its error is the one raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def first_of(*steps: Coroutine[Any, Any, T]) -> T:
    """Return what the first to end returns, or raise its error; the others are cancelled.

    Of several that end at once, the one that is named first counts.
    """
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return first.result()


async def in_thread(call: Callable[[], T]) -> T:
    """Do what blocks, in a thread that nobody waits for once this is cancelled.

    The end of the process waits for the threads of `asyncio.to_thread`: for half a minute when one of them
    asks a broker that has just been stopped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only where T is

    def work() -> None:
        result, failure = None, None
        try:
            result = call()
        except Exception as error:  # noqa: BLE001  # handed over
            failure = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, daemon=True).start()
    return await future
