"""Ends TLS in front of a database that speaks none: PostgreSQL's own beginning, then bytes both ways."""

import asyncio
import ssl
from contextlib import suppress
from typing import Self

_WANTS_TLS = bytes((0, 0, 0, 8, 4, 210, 22, 47))
_CHUNK = 65_536


class TlsRelay:
    """Listens on a port of 127.0.0.1, and hands on what comes encrypted.

    Args:
        context: Shows the certificate.
        to_port: Where the database is.
    """

    def __init__(self, context: ssl.SSLContext, to_port: int) -> None:
        self._context = context
        self._to_port = to_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Let go of everybody."""
        assert self._server is not None
        self._server.close()
        await self.hang_up()

    async def hang_up(self) -> None:
        """Break every connection, as a network does."""
        for each in self._connections:
            each.cancel()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(len(_WANTS_TLS)) != _WANTS_TLS:
            return  # a client that speaks no TLS is not let in
        writer.write(b"S")
        await writer.start_tls(self._context)
        from_database, to_database = await asyncio.open_connection("127.0.0.1", self._to_port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, to_database))
                both.create_task(_copy(from_database, writer))
        finally:
            to_database.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_CHUNK):
            writer.write(piece)
            await writer.drain()
    writer.close()
