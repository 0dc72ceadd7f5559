"""Writes stored memories with the native extension where it is installed; the rest is for the reference.

What it writes, the model takes and the Avro library writes so. It says nothing of what is wrong.
"""

from collections.abc import Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple, Self
from uuid import UUID

from soma_schemas.avro_schemas import latest
from soma_schemas.events import MemoryStored
from soma_schemas.limits import Limits
from soma_schemas.native_fields import ABSENCE, label, native_fields, native_writer


class Stamps(NamedTuple):
    """What a producer says of a memory besides what it was given.

    Attributes:
        memory_id: None: made from the memory's key or coordinate.
    """

    event_id: UUID
    tenant: str
    memory_id: UUID | None
    occurred_at: datetime
    actor: str


_STAMPED = Stamps._fields
_GIVEN = tuple(name for name in MemoryStored.model_fields if name not in _STAMPED)


class NativeWriter:
    """Writes keys and bodies of MemoryStored, in the newest released version.

    Args:
        limits: How large an event may be.
    """

    @classmethod
    def where_installed(cls, limits: Limits) -> Self | None:
        """Return a writer, or None without the extension."""
        return None if ABSENCE else cls(limits)

    def __init__(self, limits: Limits) -> None:
        fields = native_fields(limits)
        labels = {each.name: each.label for each in fields}
        schema: list[Mapping[str, Any]] = latest(MemoryStored.__name__).parsed()["fields"]
        if any(label(each["type"]) != labels[each["name"]] for each in schema):
            raise TypeError("a field of the schema has another type than the model's")
        written = [each["name"] for each in schema]
        self._write = native_writer(fields, written, (*_STAMPED, *_GIVEN)).write
        self._stamps = attrgetter(*_STAMPED)
        self._given = attrgetter(*_GIVEN)

    def event(self, event: MemoryStored) -> tuple[bytes, bytes] | None:
        """Return the key and the body of an event's record, or None: the reference has to write it."""
        return self._write(self._stamps(event) + self._given(event))

    def memory(self, stamps: Stamps, memory: object) -> tuple[bytes, bytes] | None:
        """Return the key and the body of a new memory's record, or None: the reference has to look at it.

        Args:
            stamps: What the producer says.
            memory: Has the other fields of MemoryStored as attributes; its payload may be a mapping.
        """
        return self._write(stamps + self._given(memory))
