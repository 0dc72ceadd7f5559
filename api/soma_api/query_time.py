"""What the questions of one request to the database share: their time, and the read replica that is asked."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

from psycopg_pool import AsyncConnectionPool


@dataclass(frozen=True)
class AskedReplica:
    """A read replica that may answer the questions of a request about records.

    Attributes:
        pool: To it.
        lsn: Place in the write-ahead log, in bytes, that whoever answers must have replayed.
        timeline: Of that log.
        failed: Told when it gave no answer.
    """

    pool: AsyncConnectionPool
    lsn: int
    timeline: int
    failed: Callable[[], None]


class QueryTime:
    """What is left to a request of the time for its questions.

    Attributes:
        left: Of it; zero or less: nothing is.
        replica: Is asked about records; None: the primary is.
    """

    def __init__(self, whole: timedelta) -> None:
        self.left = whole
        self.replica: AskedReplica | None = None

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
