"""Archives the last states of expired memories: `memory.expired` as Parquet files by tenant and day.

    eval "$(soma env)"
    python archive_expired.py ARCHIVE

A file is durable before its records are committed, so a crash loses nothing; a record that comes again is
known by its event_id and is not written twice. Needs pyarrow beside what the producer needs.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "memory.expired"
MOMENT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("namespace", pa.string()),
        ("memory_id", pa.string()),
        ("key", pa.string()),
        ("coordinate", pa.list_(pa.float64())),
        ("kind", pa.string()),
        ("text", pa.string()),
        ("payload", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("importance", pa.float64()),
        ("subject", pa.string()),
        ("source", pa.string()),
        ("version", pa.int64()),
        ("created_at", MOMENT),
        ("updated_at", MOMENT),
        ("expires_at", MOMENT),
    ]
)
_BATCH = 1000
_WAIT_SECONDS = 1.0


def main() -> None:
    """Archive until nothing has come for so long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files go: tenant=.../day=.../*.parquet")
    parser.add_argument("--group", default="archive-expired", help="consumer group")
    parser.add_argument("--idle", type=float, help="end when nothing has come for so many seconds")
    options = parser.parse_args()

    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["SOMA_KAFKA__BOOTSTRAP_SERVERS"],
            "group.id": options.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    registry = SchemaRegistryClient({"url": os.environ["SOMA_REGISTRY__URL"]})
    decode = AvroDeserializer(registry)
    consumer.subscribe([TOPIC])
    quiet_since = time.monotonic()
    try:
        while options.idle is None or time.monotonic() - quiet_since < options.idle:
            messages = [each for each in consumer.consume(_BATCH, _WAIT_SECONDS) if each.error() is None]
            if not messages:
                continue
            quiet_since = time.monotonic()
            states = [
                decode(each.value(), SerializationContext(TOPIC, MessageField.VALUE)) for each in messages
            ]
            written = archive(options.folder, states)
            consumer.commit(offsets=_after(messages), asynchronous=False)
            print(f"archived {written} of {len(states)}", flush=True)
    finally:
        consumer.close()


def archive(folder: Path, states: Sequence[dict[str, Any]]) -> int:
    """Write states that the archive does not have, durably; return how many these were."""
    days: defaultdict[Path, dict[str, dict[str, Any]]] = defaultdict(dict)
    for state in states:
        day = folder / f"tenant={state['tenant']}" / f"day={state['expires_at']:%Y-%m-%d}"
        # The same event lies on the same day, so its day alone can have it.
        days[day].setdefault(str(state["event_id"]), state)
    written = 0
    for day, by_id in days.items():
        known = _event_ids(day)
        rows = [_row(state) for event_id, state in by_id.items() if event_id not in known]
        if rows:
            _write(day, rows)
            written += len(rows)
    return written


def _row(state: dict[str, Any]) -> dict[str, Any]:
    row = {name: state[name] for name in SCHEMA.names}
    return row | {"event_id": str(row["event_id"]), "memory_id": str(row["memory_id"])}


def _event_ids(day: Path) -> set[str]:
    return {
        event_id
        for path in day.glob("*.parquet")
        for event_id in pq.read_table(path, columns=["event_id"], partitioning=None)["event_id"].to_pylist()
    }


def _write(day: Path, rows: list[dict[str, Any]]) -> None:
    """Write one file that is there whole or not at all."""
    day.mkdir(parents=True, exist_ok=True)
    path = day / f"{rows[0]['event_id']}.parquet"
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    for folder in (day, day.parent, day.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _after(messages: Sequence[Message]) -> list[TopicPartition]:
    """Return from where each partition is read next."""
    ends: dict[int, int] = {}
    for each in messages:
        partition, offset = each.partition(), each.offset()
        if partition is not None and offset is not None:
            ends[partition] = max(ends.get(partition, 0), offset + 1)
    return [TopicPartition(TOPIC, partition, offset) for partition, offset in ends.items()]


if __name__ == "__main__":
    main()
