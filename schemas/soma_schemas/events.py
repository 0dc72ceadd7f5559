"""The events: what may be written to the log, as typed and validated values.

A test holds every model equal to its Avro schema. The sinks fold these into state; nothing else changes one.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import NoneType
from typing import Annotated, Any, Self, get_args
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from soma_schemas.fields import (
    WRITTEN,
    Coordinate,
    Embedding,
    ExpectedVersion,
    Importance,
    Key,
    Kind,
    Moment,
    Name,
    Namespace,
    Payload,
    Source,
    Tags,
    Tenant,
    Text,
    Weight,
    broken,
)
from soma_schemas.identity import identified
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.violations import ContractError, ViolationCode, violations_of


class Record(BaseModel):
    """Anything that has an Avro schema of ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: UUID
    tenant: Tenant

    @classmethod
    def validated(
        cls, fields: Mapping[str, Any], limits: Limits = DEFAULT_LIMITS, *, written: str | None = None
    ) -> Self:
        """Return the event that these fields make.

        Args:
            fields: What the event says.
            limits: How large it may be.
            written: The payload among the fields, where `written_json` has just returned it.

        Raises:
            ContractError: They break the contract; every violation is named with its path.
        """
        try:
            return cls.model_validate(fields, context={"limits": limits, WRITTEN: written})
        except ValidationError as error:
            raise ContractError(violations_of(error)) from None

    def log_key(self) -> bytes:
        """Return the key under which this record is written: it decides partition and order."""
        raise NotImplementedError


class SealedEvent(Record):
    """An event about a memory that is encrypted as a whole. See `soma_schemas.encryption`."""

    memory_id: UUID
    key_id: UUID
    sealed: bytes

    def log_key(self) -> bytes:
        """Return `tenant/memory_id`, as the event that is sealed does."""
        return f"{self.tenant}/{self.memory_id}".encode()


class DataKeyWrapped(Record):
    """A data key as the log keeps it. See `soma_schemas.encryption.key_log`."""

    key_id: UUID
    wrapped: bytes
    master_key_id: Name
    owner: bytes

    def log_key(self) -> bytes:
        """Return `tenant/key_id`, under which a tombstone says that the key is destroyed."""
        return self.key_of(self.tenant, self.key_id)

    @staticmethod
    def key_of(tenant: str, key_id: UUID) -> bytes:
        """Return the key of a data key's records."""
        return f"{tenant}/{key_id}".encode()


class Said(Record):
    """What somebody says at a time."""

    occurred_at: Moment
    actor: Name


class MemoryEvent(Said):
    """What every event about one memory says."""

    namespace: Namespace
    memory_id: UUID

    def log_key(self) -> bytes:
        """Return `tenant/memory_id`: all events of one memory lie in one partition, in order."""
        return f"{self.tenant}/{self.memory_id}".encode()


class MemoryStored(MemoryEvent):
    """The whole state of a memory; storing again at the same key or coordinate replaces it."""

    key: Key | None
    coordinate: Coordinate | None
    kind: Kind
    text: Text
    payload: Payload
    tags: Tags
    importance: Importance
    embedding: Embedding | None
    embedding_model: Name | None
    subject: Name | None
    expires_at: Moment | None
    expected_version: ExpectedVersion | None
    source: Source | None = None

    @model_validator(mode="after")
    def _identity_agrees(self) -> Self:
        if self.key is not None and self.coordinate is not None:
            raise broken(ViolationCode.KEY_AND_COORDINATE, "a memory has a key or a coordinate, not both")
        named = identified(self.tenant, self.namespace, self.key, self.coordinate)
        if named is not None and named != self.memory_id:
            raise broken(
                ViolationCode.IDENTITY_MISMATCH,
                "the memory_id is not the one that its key or coordinate gives",
            )
        return self

    @model_validator(mode="after")
    def _embedding_names_its_model(self) -> Self:
        if (self.embedding is None) != (self.embedding_model is None):
            raise broken(ViolationCode.MISSING_FIELD, "an embedding and its model come together")
        return self


class PatchField(StrEnum):
    """The fields that a patch can change."""

    KIND = "kind"
    TEXT = "text"
    PAYLOAD = "payload"
    TAGS = "tags"
    IMPORTANCE = "importance"
    EMBEDDING = "embedding"
    SUBJECT = "subject"
    SOURCE = "source"
    EXPIRES_AT = "expires_at"


_CLEARABLE = frozenset(
    field for field in PatchField if NoneType in get_args(MemoryStored.model_fields[field.value].annotation)
)


class MemoryPatched(MemoryEvent):
    """A change to the fields named in `fields`; what is not named stays.

    A named field that is null is cleared, where that is possible. `payload` is a merge patch (RFC 7396).
    A new text without a new embedding discards the old embedding.
    """

    fields: Annotated[list[PatchField], Field(min_length=1)]
    kind: Kind | None
    text: Text | None
    payload: Payload | None
    tags: Tags | None
    importance: Importance | None
    embedding: Embedding | None
    embedding_model: Name | None
    subject: Name | None
    expires_at: Moment | None
    expected_version: ExpectedVersion | None
    source: Source | None = None

    @model_validator(mode="after")
    def _fields_and_values_agree(self) -> Self:
        named = set(self.fields)
        if len(named) != len(self.fields):
            raise broken(ViolationCode.INVALID_PATCH, "a field is named twice")
        for field in PatchField:
            value = getattr(self, field.value)
            if field not in named and value is not None:
                raise broken(
                    ViolationCode.INVALID_PATCH, f"`{field}` has a value but is not named in `fields`"
                )
            if field in named and value is None and field not in _CLEARABLE:
                raise broken(ViolationCode.INVALID_PATCH, f"`{field}` cannot be cleared")
        if (self.embedding is None) != (self.embedding_model is None):
            raise broken(ViolationCode.MISSING_FIELD, "an embedding and its model come together")
        return self


class MemoryDeleted(MemoryEvent):
    """The end of a memory, by somebody's wish."""

    expected_version: ExpectedVersion | None


class MemoryExpired(MemoryEvent):
    """The end of a memory whose time has come; void when the memory has another deadline by then.

    A deadline that a policy sets moves with each change of the memory: `updated_at` names the change from
    which it was counted. For the memory's own deadline `updated_at` is null.
    """

    expires_at: Moment
    updated_at: Moment | None = None
    archive: Annotated[bool, Field(strict=True)] = False


class MemoryLinked(MemoryEvent):
    """An edge from this memory to another; linking again replaces its weight."""

    to_memory_id: UUID
    link_type: Name
    weight: Weight


class MemoryUnlinked(MemoryEvent):
    """The end of an edge."""

    to_memory_id: UUID
    link_type: Name


class MemoryAccessed(MemoryEvent):
    """Reads of a memory, counted since the last such event."""

    count: Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    last_accessed_at: Moment


class MemoryExpiring(MemoryEvent):
    """A notice, before the deadline."""

    expires_at: Moment
    version: ExpectedVersion


class ExpiredMemory(MemoryEvent):
    """The last state of a memory that expired, for archives."""

    key: Key | None
    coordinate: Coordinate | None
    kind: Kind
    text: Text
    payload: Payload
    tags: Tags
    importance: Importance
    subject: Name | None
    version: ExpectedVersion
    created_at: Moment
    updated_at: Moment
    expires_at: Moment
    source: Source | None = None


class Decay(BaseModel):
    """How the importance of a memory fades with its age, and below what it ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_life_seconds: Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    floor: Annotated[float, Field(strict=True, ge=0.01, lt=1)]


class RetentionRule(BaseModel):
    """How long memories of one kind, or of every kind, are kept; with a decay, shorter what matters less."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind | None
    ttl_seconds: Annotated[int, Field(strict=True, ge=1, lt=2**40)]
    notice_seconds: Annotated[int, Field(strict=True, ge=0, lt=2**40)]
    archive: bool
    decay: Decay | None = None


class SizeCap(BaseModel):
    """How many memories each namespace may have that a policy reaches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_memories: Annotated[int, Field(strict=True, ge=1, lt=2**40)]
    notice_seconds: Annotated[int, Field(strict=True, ge=0, lt=2**40)]
    archive: bool


class RetentionPolicySet(Said):
    """The retention of a namespace and all below it; a later one replaces it, a tombstone lifts it."""

    namespace: Namespace | None
    rules: Annotated[list[RetentionRule], Field(max_length=3)]
    cap: SizeCap | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.rules and self.cap is None:
            raise broken(ViolationCode.INVALID_VALUE, "a policy has a rule or a cap")
        return self

    def log_key(self) -> bytes:
        """Return `tenant/namespace`, or `tenant/` for the whole tenant."""
        return self.key_of(self.tenant, self.namespace)

    @staticmethod
    def key_of(tenant: str, namespace: str | None) -> bytes:
        """Return the key of a namespace's policy, under which a tombstone lifts it."""
        return f"{tenant}/{namespace or ''}".encode()


class ErasureScope(StrEnum):
    """What an erasure is about."""

    SUBJECT = "SUBJECT"
    MEMORY = "MEMORY"
    NAMESPACE = "NAMESPACE"
    TENANT = "TENANT"


class ErasureEvent(Said):
    """What every event about one erasure says."""

    request_id: UUID

    def log_key(self) -> bytes:
        """Return `tenant/request_id`."""
        return f"{self.tenant}/{self.request_id}".encode()


_SELECTORS: dict[ErasureScope, TypeAdapter[Any]] = {
    ErasureScope.SUBJECT: TypeAdapter(Name),
    ErasureScope.MEMORY: TypeAdapter(UUID),
    ErasureScope.NAMESPACE: TypeAdapter(Namespace),
}


class ErasureRequested(ErasureEvent):
    """Somebody asks that data be gone.

    `selector` is the subject, the id of the memory, or the namespace with all below it; null for the tenant.
    """

    scope: ErasureScope
    selector: Annotated[str, Field(strict=True)] | None

    @model_validator(mode="after")
    def _selector_fits_the_scope(self, info: ValidationInfo) -> Self:
        wanted = _SELECTORS.get(self.scope)
        if wanted is None:
            if self.selector is not None:
                raise broken(ViolationCode.INVALID_VALUE, "the whole tenant has no selector")
        elif self.selector is None:
            raise broken(ViolationCode.MISSING_FIELD, f"{self.scope} wants a selector")
        else:
            try:
                wanted.validate_python(self.selector, context=info.context)
            except ValidationError as error:
                raise broken(
                    ViolationCode.INVALID_VALUE,
                    f"is no selector for {self.scope}: {error.errors()[0]['msg']}",
                ) from None
        return self


class ErasureCompleted(ErasureEvent):
    """Proof that it is gone, and when the last copy in the log will be."""

    memories: Annotated[int, Field(strict=True, ge=0)]
    history_rows: Annotated[int, Field(strict=True, ge=0)]
    dead_letters: Annotated[int, Field(strict=True, ge=0)]
    log_expires_at: Moment
    signing_key_id: Name
    signature: bytes
    receipt: Annotated[str, Field(strict=True)] | None = None


# What the sinks of `memory.events` apply.
SINK_EVENTS: tuple[type[MemoryEvent], ...] = (
    MemoryStored,
    MemoryPatched,
    MemoryDeleted,
    MemoryExpired,
    MemoryLinked,
    MemoryUnlinked,
    MemoryAccessed,
)

RECORDS: tuple[type[Record], ...] = (
    *SINK_EVENTS,
    SealedEvent,
    MemoryExpiring,
    ExpiredMemory,
    RetentionPolicySet,
    ErasureRequested,
    ErasureCompleted,
    DataKeyWrapped,
)
