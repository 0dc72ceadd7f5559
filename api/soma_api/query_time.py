"""How long the questions of one request may take the database, all of them together."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta


class QueryTime:
    """What is left to a request of the time for its questions.

    Attributes:
        left: Of it; zero or less: nothing is.
    """

    def __init__(self, whole: timedelta) -> None:
        self.left = whole

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Take away from it what the block takes."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            self.left -= timedelta(seconds=loop.time() - began)


_of_request: ContextVar[QueryTime | None] = ContextVar("query_time", default=None)


@contextmanager
def limited(whole: timedelta) -> Iterator[None]:
    """Have all questions within the block share this time, those of tasks that begin there included."""
    before = _of_request.set(QueryTime(whole))
    try:
        yield
    finally:
        _of_request.reset(before)


def query_time() -> QueryTime | None:
    """Return what is left to the request that this is part of; None where there is no such limit."""
    return _of_request.get()
