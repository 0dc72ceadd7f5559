"""FastStream with a batch subscriber that is acknowledged after its write."""

import asyncio
import logging

import psycopg
from common import COPY, INCOMING, MERGE, Order, Reading, Tally
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage

ORDER = Order.received()
TALLY, READING = Tally(ORDER), Reading(ORDER)
BROKER = KafkaBroker(ORDER.bootstrap, logger=None, log_level=logging.WARNING)


async def main() -> None:
    """Run until enough is in the table."""
    done = asyncio.Event()
    async with await psycopg.AsyncConnection.connect(ORDER.dsn, autocommit=True) as connection:
        await connection.execute(INCOMING)

        async def undecoded(message: KafkaMessage) -> list[bytes]:
            return [each.value for each in message.raw_message]

        @BROKER.subscriber(
            ORDER.topic,
            group_id=ORDER.group,
            auto_offset_reset="earliest",
            batch=True,
            max_records=ORDER.batch,
            ack_policy=AckPolicy.MANUAL,
            decoder=undecoded,
        )
        async def apply(values: list[bytes], message: KafkaMessage) -> None:
            TALLY.received()
            async with connection.transaction(), connection.cursor() as cursor:
                async with cursor.copy(COPY) as copy:
                    for value, raw in zip(values, message.raw_message, strict=True):
                        await copy.write_row(READING.row(value, raw.offset))
                await cursor.execute(MERGE)
            await message.ack()
            if TALLY.committed(len(values)):
                done.set()

        await BROKER.start()
        await done.wait()
        TALLY.report()
        await BROKER.stop()


asyncio.run(main())
