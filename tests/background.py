"""Work that goes on beside a test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(work: Callable[[], object], pause_seconds: float) -> Iterator[None]:
    """Do something again and again, with pauses, in a thread of its own until the block ends."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(pause_seconds):
            work()

    thread = threading.Thread(target=repeat, name="repeated")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
