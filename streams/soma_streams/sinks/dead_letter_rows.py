"""What the index has of a dead letter, read from its headers and its key: pure, and total."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID, uuid5

from pydantic import TypeAdapter

from soma_schemas.dead_letters import DeadLetterHeader
from soma_schemas.fields import Tenant
from soma_schemas.moments import of_rfc3339
from soma_schemas.remedies import UNREADABLE_HEADERS
from soma_streams.sinks.sessions import Integer, Moment, Text, Uuid
from soma_streams.transport.records import Record

T = TypeVar("T")

# uuid5(NAMESPACE_URL, "https://somafractalmemory.example/unreadable-dead-letter"), fixed for ever.
_UNREADABLE_NAMESPACE = UUID("e1771d76-39a6-52dc-8849-f4c6ecc4e249")
_LONGEST_TEXT = 1000
_INTEGER_LIMIT = 2**31
_BIGINT_LIMIT = 2**63
_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)


class DeadLetterRow(NamedTuple):
    """A letter as the index has it; see table dead_letters."""

    id: Uuid
    tenant: Text | None
    memory_id: Uuid | None
    consumer_group: Text | None
    topic: Text | None
    partition: Integer | None
    log_offset: Integer | None
    epoch: Integer | None
    logged_at: Moment | None
    dlq_partition: Integer
    dlq_offset: Integer
    stage: Text | None
    error_class: Text | None
    code: Text
    message: Text
    attempts: Integer | None
    first_failed_at: Moment | None
    application_version: Text | None


def dead_letter_row(topic: str, partition: int, record: Record) -> DeadLetterRow:
    """Return what the index has of a record of the dead-letter topic, whatever its headers hold."""
    headers = _Headers(record)
    tenant, memory_id = _owner(record.key)
    dead_letter_id = headers.uuid(DeadLetterHeader.ID)
    row = DeadLetterRow(
        id=dead_letter_id
        or uuid5(_UNREADABLE_NAMESPACE, f"{topic}/{partition}/{record.offset}/{record.timestamp_ms}"),
        tenant=tenant,
        memory_id=memory_id,
        consumer_group=headers.text(DeadLetterHeader.GROUP),
        topic=headers.text(DeadLetterHeader.TOPIC),
        partition=headers.number(DeadLetterHeader.PARTITION, _INTEGER_LIMIT),
        log_offset=headers.number(DeadLetterHeader.OFFSET, _BIGINT_LIMIT),
        epoch=headers.number(DeadLetterHeader.EPOCH, _INTEGER_LIMIT),
        logged_at=headers.moment(DeadLetterHeader.TIMESTAMP),
        dlq_partition=partition,
        dlq_offset=record.offset,
        stage=headers.text(DeadLetterHeader.STAGE),
        error_class=headers.text(DeadLetterHeader.ERROR_CLASS),
        code=headers.text(DeadLetterHeader.CODE) or UNREADABLE_HEADERS,
        message=headers.text(DeadLetterHeader.MESSAGE) or "",
        attempts=headers.number(DeadLetterHeader.ATTEMPTS, _INTEGER_LIMIT),
        first_failed_at=headers.moment(DeadLetterHeader.FIRST_FAILED_AT),
        application_version=headers.text(DeadLetterHeader.APPLICATION_VERSION),
    )
    if not headers.unreadable:
        return row
    names = ", ".join(header.value for header in headers.unreadable)
    return row._replace(code=UNREADABLE_HEADERS, message=f"missing or not readable: {names}")


class _Headers:
    """Reads the headers of one dead letter and notes those that it could not read."""

    def __init__(self, record: Record) -> None:
        self._values = dict(record.headers)
        self.unreadable: list[DeadLetterHeader] = []

    def text(self, header: DeadLetterHeader) -> str | None:
        return self._read(header, lambda text: text)

    def uuid(self, header: DeadLetterHeader) -> UUID | None:
        return self._read(header, UUID)

    def number(self, header: DeadLetterHeader, limit: int) -> int | None:
        return self._read(header, lambda text: _number(text, limit))

    def moment(self, header: DeadLetterHeader) -> datetime | None:
        return self._read(header, of_rfc3339)

    def _read(self, header: DeadLetterHeader, parse: Callable[[str], T]) -> T | None:
        value = self._values.get(header.value)
        if value is not None:
            with suppress(ValueError, OverflowError):
                # PostgreSQL's text holds no NUL.
                return parse(value.decode().replace("\0", "\N{REPLACEMENT CHARACTER}")[:_LONGEST_TEXT])
        self.unreadable.append(header)
        return None


def _number(text: str, limit: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < limit):
        raise ValueError("no number in range")
    return int(text)


def _owner(key: bytes | None) -> tuple[str, UUID] | tuple[None, None]:
    """Return tenant and memory from a record's key, or nothing when it is no key of ours."""
    try:
        tenant, _, memory_id = (key or b"").decode().partition("/")
        return _TENANT.validate_python(tenant), UUID(memory_id)
    except ValueError:  # pydantic's ValidationError is one
        return None, None
