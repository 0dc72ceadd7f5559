"""A loop written by hand on aiokafka: get many, decode, COPY, merge, commit."""

import asyncio

import psycopg
from aiokafka import AIOKafkaConsumer
from common import COPY, INCOMING, MERGE, Order, Reading, Tally


async def main() -> None:
    """Run until enough is in the table."""
    order = Order.received()
    tally, reading = Tally(order), Reading(order)
    consumer = AIOKafkaConsumer(
        order.topic,
        bootstrap_servers=order.bootstrap,
        group_id=order.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    async with await psycopg.AsyncConnection.connect(order.dsn, autocommit=True) as connection:
        await connection.execute(INCOMING)
        while not tally.enough:
            polled = await consumer.getmany(timeout_ms=100, max_records=order.batch)
            messages = [message for some in polled.values() for message in some]
            if not messages:
                continue
            tally.received()
            async with connection.transaction(), connection.cursor() as cursor:
                async with cursor.copy(COPY) as copy:
                    for message in messages:
                        await copy.write_row(reading.row(message.value, message.offset))
                await cursor.execute(MERGE)
            await consumer.commit()
            tally.committed(len(messages))
    await consumer.stop()
    tally.report()


asyncio.run(main())
