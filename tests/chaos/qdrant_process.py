"""The stand-in for a Qdrant server as a process of its own, to be killed, frozen and made to fail.

Started as `chaos.qdrant_process FOLDER PORT MODE`, where the file MODE says what is wrong at the moment.
"""

import asyncio
import signal
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import grpc

from qdrant_server import Faults, Line, qdrant_server

_LOOK_SECONDS = 0.05


class Mode(StrEnum):
    """What is wrong with the server; one that is named after a status answers every call with it."""

    WELL = "well"
    HANGING = "hanging"
    TORN = "torn"
    VANISHED = "vanished"
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline exceeded"
    INTERNAL = "internal"
    RESOURCE_EXHAUSTED = "resource exhausted"
    ABORTED = "aborted"
    CANCELLED = "cancelled"
    ALREADY_EXISTS = "already exists"
    UNKNOWN = "unknown"

    @property
    def status(self) -> grpc.StatusCode | None:
        """What every call is answered with."""
        return grpc.StatusCode.__members__.get(self.name)


def _apply(mode: Mode, faults: Faults, line: Line) -> None:
    faults.statuses = {"*": mode.status} if mode.status is not None else {}
    faults.torn = grpc.StatusCode.DEADLINE_EXCEEDED if mode is Mode.TORN else None
    (faults.answering.clear if mode is Mode.HANGING else faults.answering.set)()
    (line.cut if mode is Mode.VANISHED else line.mend)()


def _now(mode: Path) -> Mode:
    return Mode(mode.read_text(encoding="ascii"))


async def _serve(folder: Path, port: int, mode: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with qdrant_server(folder) as server, Line.to(server.port, port) as line:
        while not stop.is_set():
            _apply(_now(mode), server.faults, line)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
