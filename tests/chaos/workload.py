"""The events of a run: seeded, of several tenants, some repeated or conflicting, one in a hundred poison."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any
from uuid import UUID

from soma_schemas.events import (
    MemoryAccessed,
    MemoryDeleted,
    MemoryEvent,
    MemoryExpired,
    MemoryLinked,
    MemoryPatched,
    MemoryStored,
    MemoryUnlinked,
    PatchField,
)
from soma_schemas.identity import identified
from soma_schemas.limits import Limits
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL
from soma_schemas.versions import NO_VERSION, Position, pack_version

TENANTS = ("acme", "globex", "initech", "umbrella")
LIMITS = Limits(payload_bytes=2048)
"""Small payloads: a patch that outgrows the limit need not be large."""

_POISON_SHARE = 0.01
_REPEATED_SHARE = 0.025
_REPEATABLE = 400
_OWN_VECTOR_SHARE = 0.02
_HOT = 20
_HOT_SHARE = 0.25
_BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class PoisonKind(StrEnum):
    """The ways in which a record can be no event, or one that can never be applied."""

    NO_VALUE = "no_value"
    NOT_WIRE_FORMAT = "not_wire_format"
    UNKNOWN_SCHEMA = "unknown_schema"
    CUT_OFF = "cut_off"
    TRAILING = "trailing"
    FOREIGN_KEY = "foreign_key"
    WRONG_IDENTITY = "wrong_identity"
    TOO_IMPORTANT = "too_important"
    OUTGROWN = "outgrown"
    WRONG_SIZE = "wrong_size"


_LATE = (PoisonKind.OUTGROWN, PoisonKind.WRONG_SIZE)
# What only the write finds out costs a dozen writes to find the culprit: a few are enough.
_POISON_WEIGHTS = [1 if kind in _LATE else 4 for kind in PoisonKind]


@dataclass(frozen=True)
class Sent:
    """One record to publish.

    Attributes:
        event: What it is made of.
        poison: What is wrong with it, if anything.
    """

    event: MemoryEvent
    poison: PoisonKind | None = None


@dataclass
class _Memory:
    """A memory as its producer knows it."""

    event: MemoryStored
    version: int | None = None


@dataclass
class _Tenant:
    name: str
    memories: list[_Memory] = field(default_factory=list)
    edges: list[MemoryLinked] = field(default_factory=list)


class Workload:
    """Makes events one after the other; the same ones for the same seed and the same acknowledgements.

    Args:
        seed: Of everything that is chosen.
        epoch: Of the topic: compare-and-set wants versions.
    """

    def __init__(self, seed: int, epoch: int = 1) -> None:
        self._random = Random(f"workload {seed}")
        self._epoch = epoch
        self._tenants = [_Tenant(name) for name in TENANTS]
        self._recent: deque[MemoryEvent] = deque(maxlen=_REPEATABLE)
        self._known: dict[UUID, _Memory] = {}
        self._count = 0

    def take(self, count: int) -> Iterator[Sent]:
        """Return so many more records."""
        for _ in range(count):
            yield self._next()

    def acknowledged(self, event: MemoryEvent, position: Position) -> None:
        """Learn the version that an event got, for compare-and-set."""
        memory = self._known.get(event.memory_id)
        if memory is not None:
            memory.version = pack_version(self._epoch, position.offset)

    def _next(self) -> Sent:
        self._count += 1
        random = self._random
        tenant = random.choice(self._tenants)
        if len(tenant.memories) < _HOT:
            return Sent(self._remembered(self._new(tenant)))
        draw = random.random()
        if draw < _POISON_SHARE:
            return self._poison(tenant, random.choices(list(PoisonKind), _POISON_WEIGHTS)[0])
        if draw < _POISON_SHARE + _REPEATED_SHARE:
            return Sent(random.choice(self._recent))
        make = random.choices(
            (
                self._new,
                self._again,
                self._patch,
                self._delete,
                self._link,
                self._unlink,
                self._compare,
                self._access,
                self._expire,
            ),
            (44, 14, 20, 5, 6, 1, 6, 2, 2),
        )[0]
        return Sent(self._remembered(make(tenant)))

    def _remembered(self, event: MemoryEvent) -> MemoryEvent:
        self._recent.append(event)
        return event

    # -- events ------------------------------------------------------------------------------------

    def _common(self, tenant: str, namespace: str, memory_id: UUID) -> dict[str, Any]:
        return {
            "event_id": UUID(int=self._random.getrandbits(128), version=4),
            "tenant": tenant,
            "namespace": namespace,
            "memory_id": memory_id,
            "occurred_at": self._now(),
            "actor": "chaos",
        }

    def _now(self) -> datetime:
        return _BEGIN + timedelta(seconds=self._count)

    def _new(self, tenant: _Tenant) -> MemoryStored:
        memory = self._stored(tenant.name, expires_at=self._deadline())
        tenant.memories.append(known := _Memory(memory))
        self._known[memory.memory_id] = known
        return memory

    def _deadline(self) -> datetime | None:
        return self._now() + timedelta(days=30) if self._random.random() < 0.2 else None

    def _stored(self, tenant: str, **fields: Any) -> MemoryStored:
        number, random = self._count, self._random
        namespace = f"import/{number % 7}"
        key, coordinate = None, None
        kind = random.random()
        if kind < 0.7:
            key = f"memory {number}"
        elif kind < 0.85:
            coordinate = [float(number), random.uniform(-1.0, 1.0), 0.25]
        named = identified(tenant, namespace, key, coordinate)
        memory_id = named or UUID(int=random.getrandbits(128), version=4)
        values = self._common(tenant, namespace, memory_id) | {
            "key": key,
            "coordinate": coordinate,
            "kind": random.choice(("EPISODIC", "SEMANTIC")),
            "text": self._text(),
            "payload": json.dumps({"number": number, "note": "n" * random.randrange(40, 400)}),
            "tags": random.sample(("red", "green", "blue", "late", "early"), random.randrange(4)),
            "importance": round(random.random(), 3),
            "embedding": None,
            "embedding_model": None,
            "subject": random.choice((None, "ann", "bob")),
            "source": random.choice((None, "a file", "https://chat.example/42")),
            "expires_at": None,
            "expected_version": None,
        }
        return MemoryStored.validated(values | self._own_vector() | fields, LIMITS)

    def _own_vector(self) -> dict[str, Any]:
        """A vector that comes with the event, of the index's model or of another, where there is one."""
        draw = self._random.random()
        if draw >= 2 * _OWN_VECTOR_SHARE:
            return {}
        model, size = (PACKAGED_MODEL, PACKAGED_DIMENSIONS) if draw < _OWN_VECTOR_SHARE else ("another", 7)
        numbers = [round(self._random.uniform(-1.0, 1.0), 2) for _ in range(size)]
        return {"embedding": numbers, "embedding_model": model}

    def _text(self) -> str:
        random = self._random
        return (
            f"Note {self._count}: subject {random.randrange(97)} was seen at place {random.randrange(31)} "
            f"with {random.randrange(1000)} others, and nobody {random.choice(('knew', 'said'))} why."
        )

    def _some(self, tenant: _Tenant) -> _Memory:
        if self._random.random() < _HOT_SHARE:
            return tenant.memories[self._random.randrange(_HOT)]
        return self._random.choice(tenant.memories)

    def _again(self, tenant: _Tenant, **fields: Any) -> MemoryStored:
        memory = self._some(tenant).event
        changes = self._common(memory.tenant, memory.namespace, memory.memory_id) | {
            "text": self._text(),
            "importance": round(self._random.random(), 3),
            "expected_version": None,
        }
        return MemoryStored.validated(memory.model_dump() | changes | fields, LIMITS)

    def _patch(self, tenant: _Tenant, memory: _Memory | None = None, **fields: Any) -> MemoryPatched:
        random = self._random
        target = (memory or self._some(tenant)).event
        changes: dict[PatchField, Any] = random.choice(
            (
                {PatchField.TEXT: self._text()},
                {PatchField.TAGS: ["patched", f"tag{random.randrange(9)}"]},
                {PatchField.SOURCE: random.choice((None, "another file"))},
                {PatchField.PAYLOAD: json.dumps({f"seen{random.randrange(3)}": self._count, "number": None})},
                {PatchField.IMPORTANCE: round(random.random(), 3), PatchField.SUBJECT: None},
                {PatchField.EMBEDDING: None, PatchField.EXPIRES_AT: None},
            )
        )
        return self._patched(target, changes, **fields)

    def _patched(self, target: MemoryEvent, changes: dict[PatchField, Any], **fields: Any) -> MemoryPatched:
        values: dict[str, Any] = {name.value: None for name in PatchField}
        values |= self._common(target.tenant, target.namespace, target.memory_id)
        values |= {name.value: value for name, value in changes.items()}
        values |= {"fields": list(changes), "embedding_model": None, "expected_version": None}
        return MemoryPatched.validated(values | fields, LIMITS)

    def _delete(self, tenant: _Tenant, memory: _Memory | None = None, **fields: Any) -> MemoryDeleted:
        target = (memory or self._some(tenant)).event
        values = self._common(target.tenant, target.namespace, target.memory_id) | {"expected_version": None}
        return MemoryDeleted.validated(values | fields, LIMITS)

    def _link(self, tenant: _Tenant) -> MemoryLinked:
        source, target = self._some(tenant).event, self._some(tenant).event
        edge = {
            "to_memory_id": target.memory_id,
            "link_type": self._random.choice(("about", "follows")),
            "weight": round(self._random.random(), 3),
        }
        event = MemoryLinked.validated(
            self._common(source.tenant, source.namespace, source.memory_id) | edge, LIMITS
        )
        tenant.edges.append(event)
        return event

    def _unlink(self, tenant: _Tenant) -> MemoryEvent:
        if not tenant.edges:
            return self._link(tenant)
        edge = self._random.choice(tenant.edges)
        ends = {"to_memory_id": edge.to_memory_id, "link_type": edge.link_type}
        return MemoryUnlinked.validated(
            self._common(edge.tenant, edge.namespace, edge.memory_id) | ends, LIMITS
        )

    def _compare(self, tenant: _Tenant) -> MemoryEvent:
        """Compare-and-set: right as far as the producer knows, or wrong on purpose."""
        memory = self._some(tenant)
        wrong = self._random.random() < 0.3
        expected = NO_VERSION if wrong or memory.version is None else memory.version
        make: Callable[[], MemoryEvent] = self._random.choice(
            (
                lambda: self._patch(tenant, memory, expected_version=expected),
                lambda: self._delete(tenant, memory, expected_version=expected),
                lambda: self._stored(tenant.name, expected_version=NO_VERSION),
            )
        )
        return make()

    def _access(self, tenant: _Tenant) -> MemoryAccessed:
        memory = self._some(tenant).event
        reads = {"count": self._random.randrange(1, 9), "last_accessed_at": self._now()}
        return MemoryAccessed.validated(
            self._common(memory.tenant, memory.namespace, memory.memory_id) | reads, LIMITS
        )

    def _expire(self, tenant: _Tenant) -> MemoryExpired:
        """The end of a memory by its deadline, or by that of a policy; void where it has another."""
        memory = self._some(tenant).event
        deadline: dict[str, Any] = {"expires_at": memory.expires_at or self._now()}
        if self._random.random() < 0.3:
            deadline |= {"updated_at": self._now(), "archive": True}
        return MemoryExpired.validated(
            self._common(memory.tenant, memory.namespace, memory.memory_id) | deadline, LIMITS
        )

    # -- poison ------------------------------------------------------------------------------------

    def _poison(self, tenant: _Tenant, kind: PoisonKind) -> Sent:
        match kind:
            case PoisonKind.OUTGROWN:
                # Valid on its own; what it makes of the memory is too large.
                blob = json.dumps({"blob": "x" * 2000})
                return Sent(self._patched(self._some(tenant).event, {PatchField.PAYLOAD: blob}), kind)
            case PoisonKind.WRONG_SIZE:
                # The tables take it, the index cannot.
                own = {"embedding": [0.1] * 7, "embedding_model": PACKAGED_MODEL}
                return Sent(self._stored(tenant.name, **own), kind)
            case PoisonKind.WRONG_IDENTITY:
                named = {"key": f"another {self._count}", "coordinate": None}
                return Sent(self._stored(tenant.name).model_copy(update=named), kind)
            case PoisonKind.TOO_IMPORTANT:
                return Sent(self._stored(tenant.name).model_copy(update={"importance": 7.5}), kind)
            case _:
                return Sent(self._stored(tenant.name), kind)


def spoiled(sent: Sent, key: bytes, value: bytes) -> tuple[bytes, bytes | None]:
    """Return a record's key and value with the fault that it is to have."""
    match sent.poison:
        case PoisonKind.NO_VALUE:
            return key, None
        case PoisonKind.NOT_WIRE_FORMAT:
            return key, b"garbage"
        case PoisonKind.UNKNOWN_SCHEMA:
            return key, b"\0\x7f\xff\xff\xff" + value[5:]
        case PoisonKind.CUT_OFF:
            return key, value[:-3]
        case PoisonKind.TRAILING:
            return key, value + b"!"
        case PoisonKind.FOREIGN_KEY:
            return b"nobody/" + key, value
        case _:
            return key, value
