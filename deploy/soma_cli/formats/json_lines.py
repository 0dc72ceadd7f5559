"""A memory as one line of JSON: what `soma import` reads and `soma export` writes, without loss."""

import json
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from soma_schemas.events import MemoryStored
from soma_schemas.fields import Kind, Moment
from soma_schemas.identity import MEMORY_NAMESPACE, identified
from soma_schemas.json_text import JsonError, read_json
from soma_schemas.limits import Limits
from soma_schemas.memories import SAID
from soma_schemas.violations import ContractError, Violation, ViolationCode, violations_of

# Text, payload and embedding at their limits, every character escaped, with room for the rest.
MAX_LINE_BYTES = 8 * 1024 * 1024

_SEPARATOR = "\x1f"


_Number = Annotated[float, Field(strict=True)]


class MemoryLine(BaseModel):
    """The fields of one line. What a field may hold is said by `MemoryStored`, which checks it.

    Attributes:
        memory_id: Only for a memory with neither key nor coordinate.
        occurred_at: None means the time of the import.
        actor: None means `import`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    key: str | None = None
    coordinate: list[_Number] | None = None
    memory_id: UUID | None = None
    kind: Kind = Kind.EPISODIC
    text: str
    payload: dict[str, JsonValue] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    importance: _Number = 0.5
    embedding: list[_Number] | None = None
    embedding_model: str | None = None
    subject: str | None = None
    source: str | None = None
    expires_at: Moment | None = None
    occurred_at: Moment | None = None
    actor: str | None = None

    @cached_property
    def canonical(self) -> str:
        """The one spelling of this memory: equal memories have equal spellings."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    def event(self, tenant: str, occurrence: str, now: datetime, limits: Limits) -> MemoryStored:
        """Return the event that stores this memory: the same for the same memory, whenever it is asked.

        Args:
            tenant: Whose memory it will be.
            occurrence: Tells equal memories apart: how many equal ones came before it, so that a memory that
                changes and changes back ends as its last line says.
            now: When it occurred, where it does not say.
            limits: How large it may be.

        Raises:
            ContractError: It breaks the contract.
        """
        seed = _SEPARATOR.join((tenant, self.canonical, occurrence))
        return MemoryStored.validated(
            {name: getattr(self, name) for name in SAID}
            | {
                "event_id": uuid5(MEMORY_NAMESPACE, seed),
                "tenant": tenant,
                "memory_id": self.memory_id
                or identified(tenant, self.namespace, self.key, self.coordinate)
                or uuid5(MEMORY_NAMESPACE, seed + _SEPARATOR + "memory"),
                "occurred_at": self.occurred_at or now,
                "actor": self.actor or "import",
                "payload": json.dumps(self.payload, ensure_ascii=False),
                "expected_version": None,
            },
            limits,
        )


def parse_line(line: bytes) -> MemoryLine:
    """Read one line.

    Raises:
        ContractError: It is no JSON object with the fields of a memory.
    """
    try:
        value = read_json(line).value
    except JsonError as error:
        raise _broken(error.code, str(error), error.within) from None
    if not isinstance(value, dict):
        raise _broken(ViolationCode.WRONG_TYPE, "is not a JSON object")
    try:
        return MemoryLine.model_validate(value)
    except ValidationError as error:
        raise ContractError(violations_of(error)) from None


def format_line(memory: MemoryLine) -> str:
    """Return a memory as one line, with its line end; fields at their default are left out."""
    fields = {
        name: value
        for name, value in memory.model_dump(mode="json").items()
        if name in {"namespace", "kind", "text"} or value != _DEFAULTS[name]
    }
    return json.dumps(fields, ensure_ascii=False).translate(_LINE_ENDS) + "\n"


# Legal within a line of JSON, but many a tool takes them for its end.
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}

_DEFAULTS: dict[str, Any] = MemoryLine(namespace="-", text="-").model_dump(mode="json")


def _broken(code: ViolationCode, message: str, path: str = "") -> ContractError:
    return ContractError([Violation(path, code, message)])
