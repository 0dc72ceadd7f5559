"""The same in a process of its own, beside the one that reads the log and waits for the database."""

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from soma_streams.errors import StreamsError

from .columns import AnyColumn
from .rows import Rows, RowTranscoder

_END_SECONDS = 5.0


class TranscoderEndedError(StreamsError):
    """The child process ended by itself; what it had was not transcoded."""

    code = "transcoder_ended"
    remedy = "Start the worker again: what is unsettled comes again."


class TranscodingProcess:
    """A `RowTranscoder` in a child process, which ends with the `async with` or with this process.

    Args:
        schema: See `RowTranscoder`.
        columns: See `RowTranscoder`.
        skip: See `RowTranscoder`.

    Raises:
        UnsupportedSchemaError: The columns cannot be made of this schema.
    """

    def __init__(self, schema: str, columns: Sequence[AnyColumn], *, skip: int = 0) -> None:
        RowTranscoder(schema, columns, skip=skip)  # here, where an error has somebody to tell
        # Spawned: a fork would get the clients of log and database with half their threads.
        spawning = multiprocessing.get_context("spawn")
        self._connection, self._childs_end = spawning.Pipe()
        self._process = spawning.Process(
            target=_serve, args=(self._childs_end, schema, tuple(columns), skip), daemon=True
        )
        self._turn = threading.Lock()

    async def __aenter__(self) -> Self:
        """Start the process and wait until it works.

        Raises:
            TranscoderEndedError: It ended at once.
        """
        await asyncio.to_thread(self._process.start)
        self._childs_end.close()  # or its end would not be seen
        await self.rows([])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        await asyncio.to_thread(self._end)

    async def rows(self, values: Sequence[bytes], *given: Sequence[int]) -> Rows:
        """Return what `RowTranscoder.rows` returns. One call is worked on at a time.

        Raises:
            TranscoderEndedError: The process is gone.
        """
        return await asyncio.to_thread(self._ask, values, given)

    def _ask(self, values: Sequence[bytes], given: Sequence[Sequence[int]]) -> Rows:
        # A caller that is cancelled leaves its thread waiting for the answer; the next one waits for that.
        with self._turn:
            try:
                self._connection.send((values, given))
                answer: Rows | Exception = self._connection.recv()
            except (EOFError, OSError) as error:
                raise TranscoderEndedError("the transcoding process ended by itself") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _end(self) -> None:
        self._connection.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _serve(connection: "Connection[Any, Any]", schema: str, columns: Sequence[AnyColumn], skip: int) -> None:
    """Answer until the parent goes; it alone is told to stop by the keyboard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    transcoder = RowTranscoder(schema, columns, skip=skip)
    with suppress(EOFError, OSError):
        while True:
            values, given = connection.recv()
            answer: Rows | Exception
            try:
                answer = transcoder.rows(values, *given)
            except Exception as error:  # noqa: BLE001  # whoever asked is told
                answer = error
            connection.send(answer)
