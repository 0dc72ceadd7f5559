"""Our transport and transcoding, on the same table as everybody; in one process or with a child."""

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import faust
import psycopg
from common import (
    COLUMNS,
    COPY_BINARY,
    INCOMING,
    MERGE,
    RAISE_WATERMARK,
    Order,
    Tally,
)

from soma_streams.transcoding import (
    COPY_BEGIN,
    COPY_END,
    Column,
    ColumnType,
    Given,
    Rows,
    RowTranscoder,
    TranscodingProcess,
)
from soma_streams.transport import (
    BatchSchema,
    Limits,
    Options,
    RecordBatch,
    app_settings,
    batches,
    configure,
    consumer_of,
)

CHILD = "child"
EPOCH = 1 << 40
WIRE_HEADER_BYTES = 5

TYPES = {
    "memory_id": ColumnType.UUID,
    "event_id": ColumnType.UUID,
    "occurred_at": ColumnType.TIMESTAMPTZ,
    "payload": ColumnType.JSONB,
    "tags": ColumnType.TEXT_ARRAY,
    "importance": ColumnType.DOUBLE,
    "expires_at": ColumnType.TIMESTAMPTZ,
}
ROW = [Given() if name == "version" else Column(name, TYPES.get(name, ColumnType.TEXT)) for name in COLUMNS]

Transcode = Callable[[RecordBatch], Awaitable[Rows]]


async def open_transcoding(order: Order, opened: AsyncExitStack) -> Transcode:
    """Return what makes rows of a batch."""

    def arguments(batch: RecordBatch) -> tuple[list[bytes], list[int]]:
        records = batch.records
        return [each.value or b"" for each in records], [EPOCH + each.offset for each in records]

    if order.variant == CHILD:
        child = await opened.enter_async_context(
            TranscodingProcess(order.schema, ROW, skip=WIRE_HEADER_BYTES)
        )
        return lambda batch: child.rows(*arguments(batch))
    transcoder = RowTranscoder(order.schema, ROW, skip=WIRE_HEADER_BYTES)

    async def here(batch: RecordBatch) -> Rows:
        return transcoder.rows(*arguments(batch))

    return here


def write(connection: psycopg.Connection, rows: Rows, batch: RecordBatch) -> None:
    """Write rows and how far they go, in one transaction."""
    if rows.refused:
        raise ValueError(f"{len(rows.refused)} events are not of their schema")
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(COPY_BINARY) as copy:
            copy.write(COPY_BEGIN + rows.data + COPY_END)
        cursor.execute(MERGE)
        cursor.execute(RAISE_WATERMARK, [batch.partition, batch.next_offset])


async def main() -> None:
    """Run until enough is in the table."""
    order = Order.received()
    tally = Tally(order)
    app = faust.App(
        order.group,
        **app_settings(order.bootstrap),
        datadir=order.data,
        web_enabled=False,
        autodiscover=False,
        loop=asyncio.get_running_loop(),
    )
    limits = Limits(batch_records=order.batch, lane_records=max(4 * order.batch, 4000), batches_in_flight=2)
    configure(app, Options(limits=limits))
    done = asyncio.Event()
    async with AsyncExitStack() as opened:
        transcode = await open_transcoding(order, opened)
        connection = opened.enter_context(psycopg.connect(order.dsn, autocommit=True))
        connection.execute(INCOMING)

        async def finish(rows: Rows, batch: RecordBatch) -> None:
            await asyncio.to_thread(write, connection, rows, batch)
            consumer_of(app).settle(batch)
            if tally.committed(len(batch)):
                done.set()

        async def apply(stream: faust.StreamT[RecordBatch]) -> None:
            writing: asyncio.Task[None] | None = None
            try:
                async for batch in batches(stream):
                    tally.received()
                    rows = await transcode(batch)  # while the one before it is written
                    if writing is not None:
                        await writing
                    writing = asyncio.create_task(finish(rows, batch))
            except Exception:  # noqa: BLE001  # an agent that raises would be restarted
                traceback.print_exc()
                os._exit(1)

        app.agent(app.topic(order.topic, schema=BatchSchema()), name="apply")(apply)
        app.finalize()
        await app.start()
        await done.wait()
        tally.report()
        await app.stop()


if __name__ == "__main__":  # the child imports this file too
    sys.stderr.flush()
    asyncio.run(main())
