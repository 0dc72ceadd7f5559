"""Stock Faust, losing nothing: raw values, and each event acknowledged by hand after its write."""

import asyncio
import os

import faust
import psycopg
from common import COPY, INCOMING, MERGE, Order, Reading, Tally


async def main() -> None:
    """Run until enough is in the table."""
    order = Order.received()
    tally, reading = Tally(order), Reading(order)
    app = faust.App(
        order.group,
        broker=f"kafka://{order.bootstrap}",
        datadir=order.data,
        web_enabled=False,
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        loop=asyncio.get_running_loop(),
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * 1024 * 1024,
        stream_buffer_maxsize=order.batch,
    )
    topic = app.topic(order.topic, value_type=bytes, value_serializer="raw", key_serializer="raw")
    done = asyncio.Event()
    async with await psycopg.AsyncConnection.connect(order.dsn, autocommit=True) as connection:
        await connection.execute(INCOMING)

        @app.agent(topic)
        async def apply(stream: faust.StreamT[bytes]) -> None:
            held = []
            async for event in stream.noack().events():
                tally.received()
                held.append(event)
                if len(held) < order.batch and tally.events + len(held) < order.events:
                    continue
                async with connection.transaction(), connection.cursor() as cursor:
                    async with cursor.copy(COPY) as copy:
                        for each in held:
                            await copy.write_row(reading.row(each.value, each.message.offset))
                    await cursor.execute(MERGE)
                for each in held:
                    stream.ack(each)
                if tally.committed(len(held)):
                    done.set()
                held.clear()

        app.finalize()
        await app.start()
        await done.wait()
        tally.report()
        os._exit(0)  # an orderly stop waits without end for the event that came after the last batch


asyncio.run(main())
