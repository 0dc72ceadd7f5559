"""Dead letters for tests: as the index has them, and as the dead-letter topic holds them."""

from datetime import timedelta
from typing import Any

from builders import A_MOMENT, A_TENANT, a_record, an_id, stored
from soma_schemas.dead_letters import Stage
from soma_schemas.events import MemoryEvent
from soma_streams.delivery.dead_letters import DeadLetter, dead_letter_headers, whole_copy
from soma_streams.replay.stored_dead_letters import Status, StoredDeadLetter
from soma_streams.transport.records import Record


def a_dead_letter(offset: int = 0, **fields: Any) -> StoredDeadLetter:
    """A dead letter about the event at this offset; each offset is one second later."""
    moment = A_MOMENT + timedelta(days=1, seconds=offset)
    values: dict[str, Any] = {
        "id": an_id(),
        "tenant": A_TENANT,
        "memory_id": an_id(),
        "consumer_group": "soma-postgres",
        "topic": "memory.events",
        "partition": 0,
        "log_offset": offset,
        "epoch": 1,
        "logged_at": moment,
        "dlq_partition": 0,
        "dlq_offset": offset,
        "stage": "decode",
        "error_class": "DecodeError",
        "code": "avro",
        "message": "the body is not of its schema",
        "attempts": 1,
        "first_failed_at": moment,
        "application_version": "0.1.0",
        "status": Status.OPEN,
        "status_changed_at": None,
    }
    return StoredDeadLetter(**(values | fields))


def as_dead_letter(record: Record, group: str = "soma-postgres", epoch: int = 1) -> Record:
    """A record as the dead-letter topic holds it."""
    dead_letter = DeadLetter(
        topic="memory.events",
        partition=0,
        record=record,
        stage=Stage.DECODE,
        code="avro",
        message="the body is not of its schema",
        error_class="DecodeError",
        attempts=1,
        first_failed_at=A_MOMENT,
    )
    headers = dead_letter_headers(
        dead_letter, whole_copy(record), group=group, epoch=epoch, application_version="0.1.0"
    )
    return record._replace(headers=tuple((name, _as_bytes(value)) for name, value in headers))


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def a_dead_record(event: MemoryEvent | None = None, offset: int = 0, **fields: Any) -> Record:
    """An event as the dead-letter topic holds it."""
    return as_dead_letter(a_record(event or stored(key="tea"), offset, **fields))
