"""A loop written by hand on confluent-kafka: consume, decode, COPY, merge, commit."""

import psycopg
from common import COPY, INCOMING, MERGE, Order, Reading, Tally
from confluent_kafka import Consumer


def main() -> None:
    """Run until enough is in the table."""
    order = Order.received()
    tally, reading = Tally(order), Reading(order)
    consumer = Consumer(
        {
            "bootstrap.servers": order.bootstrap,
            "group.id": order.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.subscribe([order.topic])
    with psycopg.connect(order.dsn, autocommit=True) as connection:
        connection.execute(INCOMING)
        while not tally.enough:
            messages = consumer.consume(order.batch, timeout=0.1)
            if not messages:
                continue
            tally.received()
            with connection.transaction(), connection.cursor() as cursor:
                with cursor.copy(COPY) as copy:
                    for message in messages:
                        copy.write_row(reading.row(message.value(), message.offset()))
                cursor.execute(MERGE)
            consumer.commit(asynchronous=False)
            tally.committed(len(messages))
    consumer.close()
    tally.report()


main()
