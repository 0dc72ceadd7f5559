"""Quix Streams with the PostgreSQL sink that comes with it: an upsert by key, without a guard by version."""

import json
from typing import Any

from common import Order, Reading, Tally
from psycopg.conninfo import conninfo_to_dict
from quixstreams import Application
from quixstreams.sinks import SinkBatch
from quixstreams.sinks.community.postgresql import PostgreSQLSink

ORDER = Order.received()
TALLY, READING = Tally(ORDER), Reading(ORDER)


class CountingSink(PostgreSQLSink):
    """The sink as it is; it only counts."""

    def write(self, batch: SinkBatch) -> None:
        """Write a batch."""
        super().write(batch)
        if TALLY.committed(batch.size):
            APPLICATION.stop()


def flat(value: bytes) -> dict[str, Any]:
    """Return an event as the sink takes it."""
    TALLY.received()
    fields = READING.fields(value)
    fields["memory_id"] = str(fields["memory_id"])
    fields["event_id"] = str(fields["event_id"])
    fields["tags"] = json.dumps(fields["tags"])
    for unused in ("coordinate", "embedding", "embedding_model", "expected_version"):
        del fields[unused]
    return fields


PLACE = conninfo_to_dict(ORDER.dsn)
APPLICATION = Application(
    broker_address=ORDER.bootstrap,
    consumer_group=ORDER.group,
    auto_offset_reset="earliest",
    commit_every=ORDER.batch,
    loglevel="WARNING",
    auto_create_topics=False,
    state_dir=ORDER.data,
)
TOPIC = APPLICATION.topic(ORDER.topic, value_deserializer="bytes", key_deserializer="bytes")
FRAME = APPLICATION.dataframe(TOPIC).apply(flat)
FRAME.sink(
    CountingSink(
        host=str(PLACE["host"]),
        port=int(str(PLACE["port"])),
        dbname=str(PLACE["dbname"]),
        user=str(PLACE["user"]),
        password=str(PLACE["password"]),
        table_name="quix_memories",
        schema_name="bench",
        include_metadata=False,
        primary_key_columns=["tenant", "memory_id"],
        upsert_on_primary_key=True,
    )
)
APPLICATION.run()
TALLY.report()
