"""The vector worker on the embedded index, with the faults that a Qdrant server has injected at the writer.

A stand-in for a server that is away, busy or slow: the index itself is the embedded engine, and what it is
made to raise is what the writer to a server raises. Started as a process of its own, `chaos.vector_worker
INDEX MODE`, where the file MODE says what is wrong at the moment.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry

from soma_cli.local.vectors import EmbeddedIndex
from soma_cli.settings import KNOWN
from soma_schemas.clock import Clock, SystemClock
from soma_schemas.configuration import load
from soma_schemas.logs import configure_logging
from soma_schemas.vectors.collection import Collection as VectorCollection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL, open_embedder
from soma_schemas.vectors.errors import IndexUnavailableError
from soma_schemas.vectors.points import Point
from soma_streams import workers
from soma_streams.settings import VectorWorkerSettings
from soma_streams.sinks.vectors.writer import PointWriter

COLLECTION = VectorCollection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)
_ANSWER_SECONDS = 2.0
_LOOK_SECONDS = 0.05


class Mode(StrEnum):
    """What is wrong with the index."""

    WELL = "well"
    REFUSING = "refusing"
    OVERLOADED = "overloaded"
    HANGING = "hanging"
    TORN = "torn"


class FaultyWriter:
    """A `PointWriter` in front of another one, as bad as its mode says.

    Args:
        writer: Which really writes.
        mode: Looked at before every call.
        clock: How long a call hangs.
    """

    def __init__(self, writer: PointWriter, mode: Path, clock: Clock) -> None:
        self._writer = writer
        self._mode = mode
        self._clock = clock

    async def prepare(self) -> None:
        """Prepare, or fail."""
        await self._fail()
        await self._writer.prepare()

    async def check(self) -> None:
        """Check, or fail."""
        await self._fail()
        await self._writer.check()

    async def read(self, ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Read, or fail."""
        await self._fail()
        return await self._writer.read(ids)

    async def write(self, points: Sequence[Point]) -> frozenset[UUID]:
        """Write, fail, or do half of it and fail."""
        await self._fail()
        if self._now() is Mode.TORN:
            await self._writer.write(points[: len(points) // 2])
            raise _timeout()
        return await self._writer.write(points)

    async def flush(self) -> None:
        """Make it durable, or fail."""
        await self._fail()
        await self._writer.flush()

    async def is_empty(self) -> bool:
        """Look, or fail."""
        await self._fail()
        return await self._writer.is_empty()

    async def renew(self, *, keep_former: bool) -> None:
        """Begin anew, or fail."""
        await self._fail()
        await self._writer.renew(keep_former=keep_former)

    async def _fail(self) -> None:
        match self._now():
            case Mode.REFUSING:
                raise IndexUnavailableError("the vector index does not answer: connection refused")
            case Mode.OVERLOADED:
                raise IndexUnavailableError("the vector index asks for patience")
            case Mode.HANGING:
                began = self._clock.monotonic()
                while self._clock.monotonic() - began < _ANSWER_SECONDS:
                    await self._clock.sleep(_LOOK_SECONDS)
                raise _timeout()
            case Mode.WELL | Mode.TORN:
                return

    def _now(self) -> Mode:
        return Mode(self._mode.read_text(encoding="ascii"))


def _timeout() -> IndexUnavailableError:
    return IndexUnavailableError("the vector index does not answer: DEADLINE_EXCEEDED")


async def _work(folder: Path, mode: Path) -> None:
    loaded = load(VectorWorkerSettings, environment=os.environ, known=KNOWN)
    configure_logging(loaded.settings.log)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    clock = SystemClock()
    with (
        closing(open_embedder(loaded.settings.embedder)) as embedder,
        closing(EmbeddedIndex.open(folder, COLLECTION)) as index,
    ):
        await workers.work_vectors(
            loaded.settings,
            writer=FaultyWriter(index, mode, clock),
            embedder=embedder,
            collection=COLLECTION,
            clock=clock,
            random=Random(),
            registry=CollectorRegistry(),
            stop=stop,
        )


if __name__ == "__main__":
    asyncio.run(_work(Path(sys.argv[1]), Path(sys.argv[2])))
