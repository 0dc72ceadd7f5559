"""Serves Qdrant's gRPC interface in a container, and says on its HTTP port that it is ready."""

import asyncio
import os
import signal
from pathlib import Path

from qdrant_server import qdrant_server

_READY = b"HTTP/1.0 200 OK\r\n\r\nall shards are ready"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(_READY)
    await writer.drain()
    writer.close()


async def _serve() -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    key = os.environ.get("QDRANT__SERVICE__API_KEY")
    async with (
        qdrant_server(Path("storage"), host="0.0.0.0", port=6334, api_key=key),  # noqa: S104  # in a container
        await asyncio.start_server(_answer, "0.0.0.0", 6333),  # noqa: S104  # likewise
    ):
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
