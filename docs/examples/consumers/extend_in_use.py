"""Saves memories that are still in use: what was accessed lately is kept longer, when its end is near.

    eval "$(soma env)"
    python extend_in_use.py --within 7 --by 30

Reads `memory.expiring`, looks each memory up, and gives it a deadline of its own, so many days after the one
that the notice names, if it was accessed within the last days. A notice that comes again asks for the same
deadline again.
"""

import argparse
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "memory.expiring"
_WAIT_SECONDS = 1.0


def main() -> None:
    """Extend until nothing has come for so long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--within", type=float, default=7, help="days: accessed in these it is in use")
    parser.add_argument("--by", type=float, default=30, help="days by which it is extended")
    parser.add_argument("--group", default="extend-in-use", help="consumer group")
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
    decode = AvroDeserializer(SchemaRegistryClient({"url": os.environ["SOMA_REGISTRY__URL"]}))
    key = {"Authorization": f"Bearer {os.environ['SOMA_API_KEY']}"}
    consumer.subscribe([TOPIC])
    quiet_since = time.monotonic()
    with httpx.Client(base_url=os.environ["SOMA_URL"], headers=key, timeout=30) as api:
        try:
            while options.idle is None or time.monotonic() - quiet_since < options.idle:
                message = consumer.poll(_WAIT_SECONDS)
                if message is None or message.error() is not None:
                    continue
                quiet_since = time.monotonic()
                notice = decode(message.value(), SerializationContext(TOPIC, MessageField.VALUE))
                if extend(api, notice, timedelta(days=options.within), timedelta(days=options.by)):
                    print(f"extended {notice['memory_id']}", flush=True)
                consumer.commit(message, asynchronous=False)
        finally:
            consumer.close()


def extend(api: httpx.Client, notice: dict[str, Any], within: timedelta, by: timedelta) -> bool:
    """Give a memory that is in use a later deadline; say whether it got one."""
    found = api.get(f"/v1/memories/{notice['memory_id']}")
    if found.status_code == httpx.codes.NOT_FOUND:
        return False  # it has ended meanwhile
    found.raise_for_status()
    accessed = found.json()["last_accessed_at"]
    if accessed is None or datetime.fromisoformat(accessed) < datetime.now(UTC) - within:
        return False
    later = notice["expires_at"] + by
    # If it has changed meanwhile, its deadline has moved and another notice will come.
    changed = api.patch(
        f"/v1/memories/{notice['memory_id']}",
        json={"expires_at": later.isoformat()},
        headers={"If-Match": found.headers["ETag"]},
    )
    if changed.status_code == httpx.codes.PRECONDITION_FAILED:
        return False
    changed.raise_for_status()
    return True


if __name__ == "__main__":
    main()
