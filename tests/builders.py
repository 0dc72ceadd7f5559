"""Builders that say only what matters; the rest is valid, fixed and dull."""

import io
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import fastavro

from soma_schemas import events
from soma_schemas.avro_schemas import latest, record_names
from soma_schemas.events import (
    SINK_EVENTS,
    Decay,
    MemoryDeleted,
    MemoryEvent,
    MemoryLinked,
    MemoryPatched,
    MemoryStored,
    PatchField,
    RetentionPolicySet,
)
from soma_schemas.identity import identified
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.retention import TenantPolicies
from soma_schemas.versions import Position, pack_version
from soma_streams.delivery.decode import Decoder
from soma_streams.delivery.native import NativeReader
from soma_streams.delivery.sealed_events import KnownKey, SealedEvents
from soma_streams.delivery.state import LoggedEvent
from soma_streams.delivery.writer_schemas import judged
from soma_streams.transport.records import Record, RecordBatch, TimestampType

A_MOMENT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
A_TENANT = "acme"
A_NAMESPACE = "team/notes"
NO_POLICIES = TenantPolicies({})

_counter = count(1)


def an_id() -> UUID:
    """A fresh id; a counter, so that a failure comes back."""
    return UUID(int=0x7000_8000_0000_0000_0000 + next(_counter))


def stored(**fields: Any) -> MemoryStored:
    """A MemoryStored event; its memory_id follows from key or coordinate."""
    values: dict[str, Any] = {
        "event_id": an_id(),
        "tenant": A_TENANT,
        "namespace": A_NAMESPACE,
        "occurred_at": A_MOMENT,
        "actor": "tester",
        "key": None,
        "coordinate": None,
        "kind": "EPISODIC",
        "text": "tea at four",
        "payload": "{}",
        "tags": [],
        "importance": 0.5,
        "embedding": None,
        "embedding_model": None,
        "subject": None,
        "source": None,
        "expires_at": None,
        "expected_version": None,
    } | fields
    if "memory_id" not in values:
        named = identified(values["tenant"], values["namespace"], values["key"], values["coordinate"])
        values["memory_id"] = named or an_id()
    return MemoryStored.validated(values)


def patched(
    memory: MemoryEvent | UUID, *, expected_version: int | None = None, **changes: Any
) -> MemoryPatched:
    """A MemoryPatched event for a memory, changing the fields that are named."""
    values: dict[str, Any] = {field.value: None for field in PatchField}
    values |= changes
    return MemoryPatched.validated(
        _common(memory)
        | values
        | {
            "fields": [name for name in changes if name != "embedding_model"],
            "embedding_model": changes.get("embedding_model"),
            "expected_version": expected_version,
        }
    )


def deleted(memory: MemoryEvent | UUID, *, expected_version: int | None = None) -> MemoryDeleted:
    """A MemoryDeleted event for a memory."""
    return MemoryDeleted.validated(_common(memory) | {"expected_version": expected_version})


def linked(
    memory: MemoryEvent | UUID, to: UUID, link_type: str = "about", weight: float = 1.0
) -> MemoryLinked:
    """A MemoryLinked event from a memory."""
    edge = {"to_memory_id": to, "link_type": link_type, "weight": weight}
    return MemoryLinked.validated(_common(memory) | edge)


def policy_set(
    namespace: str | None = None,
    *,
    ttl_seconds: int = 60,
    notice_seconds: int = 0,
    archive: bool = False,
    decay: Decay | None = None,
    tenant: str = A_TENANT,
    set_at: datetime = A_MOMENT,
) -> RetentionPolicySet:
    """A policy with one rule for every kind; without a namespace it is that of the tenant."""
    rule = {
        "kind": None,
        "ttl_seconds": ttl_seconds,
        "notice_seconds": notice_seconds,
        "archive": archive,
        "decay": decay,
    }
    return RetentionPolicySet.validated(
        {
            "event_id": an_id(),
            "tenant": tenant,
            "occurred_at": set_at,
            "actor": "tester",
            "namespace": namespace,
            "rules": [rule],
        }
    )


def cap_set(
    namespace: str | None = None, *, max_memories: int, notice_seconds: int = 0, archive: bool = False
) -> RetentionPolicySet:
    """A policy with a cap and no rule; without a namespace it is that of the tenant."""
    cap = {"max_memories": max_memories, "notice_seconds": notice_seconds, "archive": archive}
    return RetentionPolicySet.validated(policy_set(namespace).model_dump() | {"rules": [], "cap": cap})


def _common(memory: MemoryEvent | UUID) -> dict[str, Any]:
    tenant, namespace, memory_id = (
        (A_TENANT, A_NAMESPACE, memory)
        if isinstance(memory, UUID)
        else (memory.tenant, memory.namespace, memory.memory_id)
    )
    return {
        "event_id": an_id(),
        "tenant": tenant,
        "namespace": namespace,
        "memory_id": memory_id,
        "occurred_at": A_MOMENT,
        "actor": "tester",
    }


def logged(event: MemoryEvent, offset: int, *, partition: int = 0, epoch: int = 1) -> LoggedEvent:
    """The event as it lies in the log; each offset is one second later."""
    place = Position(partition, offset)
    return LoggedEvent(
        event, place, place, pack_version(epoch, offset), A_MOMENT + timedelta(days=1, seconds=offset)
    )


def a_log(said: Sequence[MemoryEvent]) -> list[LoggedEvent]:
    """The events at successive offsets of one partition."""
    return [logged(event, offset) for offset, event in enumerate(said)]


SCHEMA_IDS = {name: number for number, name in enumerate(record_names(), start=1)}
WRITER_SCHEMAS = {number: judged(latest(name).text) for name, number in SCHEMA_IDS.items()}


def encoded(event: events.Record) -> bytes:
    """The event in wire format, under the schema ids of `SCHEMA_IDS`."""
    name = type(event).__name__
    body = io.BytesIO()
    fastavro.schemaless_writer(body, WRITER_SCHEMAS[SCHEMA_IDS[name]].parsed, event.model_dump())
    return b"\0" + SCHEMA_IDS[name].to_bytes(4, "big") + body.getvalue()


def a_decoder(limits: Limits = DEFAULT_LIMITS) -> Decoder:
    """A decoder as workers have it: with the native extension where that is installed."""
    return Decoder(SINK_EVENTS, limits, epoch=1, native=NativeReader.where_installed(limits))


class NoDataKeys:
    """A table without keys."""

    async def read(self, key_ids: Collection[UUID]) -> Mapping[UUID, KnownKey]:
        """None of them."""
        del key_ids
        return {}


def nothing_sealed() -> SealedEvents:
    """What opens sealed events, where no key is known."""
    return SealedEvents(NoDataKeys(), DEFAULT_LIMITS, epoch=1)


def a_record(
    value: bytes | MemoryEvent | None,
    offset: int = 0,
    *,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> Record:
    """A record of the log; each offset is one second later."""
    if isinstance(value, MemoryEvent):
        key = key if key is not None else value.log_key()
        value = encoded(value)
    moment_ms = int((A_MOMENT + timedelta(days=1, seconds=offset)).timestamp() * 1000)
    return Record(offset, moment_ms, TimestampType.LOG_APPEND_TIME, key, value, tuple(headers))


def a_batch(records: Sequence[Record], *, partition: int = 0, next_offset: int | None = None) -> RecordBatch:
    """A batch of one partition of `memory.events`."""
    return RecordBatch.of(("memory.events", partition), records, next_offset)
