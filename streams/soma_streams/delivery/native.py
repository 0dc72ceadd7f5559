"""Reads stored memories with the native extension where it is installed; the rest is for the reference.

The extension says of a record that it is sound, or that fastavro and the model have to look at it. What it is
told here is where a writer's schema has the fields.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from soma_schemas.avro_schemas import latest
from soma_schemas.events import MemoryStored
from soma_schemas.fields import Kind
from soma_schemas.identity import uuid_of
from soma_schemas.limits import Limits
from soma_schemas.moments import of_micros
from soma_schemas.native_fields import ABSENCE, label, native_fields, native_reader
from soma_schemas.versions import Position
from soma_streams.delivery.state import LoggedEvent, MemoryName
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.transport.records import Record

if TYPE_CHECKING:
    from soma_native import Read

_FIXED = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_WORDS = {"int": "long", "long": "long", "enum": "long", "bytes": "sized", "string": "sized"}
_NO_DEFAULT = object()
_CONDITIONAL = 2  # a verdict

_new = object.__new__
_set = object.__setattr__

_Skipped = tuple[Any, ...]
_Step = int | _Skipped


# What the model has where the extension has something simpler.
_OBJECTS: Mapping[str, Callable[[Any], Any]] = {
    "uuid": lambda octets: uuid_of(int.from_bytes(octets)),
    "moment": of_micros,
    "symbol": Kind,
}


class NativeReader:
    """Reads records of MemoryStored that were written with schemas that are known.

    Args:
        limits: How large an event may be.
    """

    @classmethod
    def where_installed(cls, limits: Limits) -> Self | None:
        """Return a reader, or None without the extension; `ABSENCE` says why."""
        return None if ABSENCE else cls(limits)

    def __init__(self, limits: Limits) -> None:
        fields = native_fields(limits)
        self._places = {field.name: place for place, field in enumerate(fields)}
        self._types = {field.name: field.label for field in fields}
        self._objects = [(each.name, made) for each in fields if (made := _OBJECTS.get(each.rule[0]))]
        self._set = set(self._places)
        self._writers: dict[int, Sequence[_Step]] = {}
        self._judged: dict[int, WriterSchema] = {}
        self.reader = native_reader(fields)

    def read(self, records: Sequence[Record], schemas: Mapping[int, WriterSchema]) -> "Read":
        """Return which records are sound."""
        self._learn(schemas)
        return self.reader.read([record.value for record in records], [record.key for record in records])

    def _learn(self, schemas: Mapping[int, WriterSchema]) -> None:
        """Take records of these schemas, where all of their known fields are of the types that are known."""
        new = {number: each for number, each in schemas.items() if self._judged.get(number) is not each}
        if not new:
            return
        for schema_id, schema in new.items():
            self._judged[schema_id] = schema
            self._writers.pop(schema_id, None)
            if schema.fault is None and schema.record == MemoryStored.__name__:
                steps = self._steps(schema.parsed)
                if steps is not None:
                    self._writers[schema_id] = steps
        self.reader = self.reader.for_writers(self._writers)

    def event(self, read: "Read", number: int) -> MemoryStored:
        """Return the event of a sound record, as the model would make it."""
        fields = read.fields(number)
        for name, made in self._objects:
            value = fields[name]
            if value is not None:
                fields[name] = made(value)
        event = _new(MemoryStored)
        _set(event, "__dict__", fields)
        # As the model leaves an instance. The set is shared: nobody changes that of a frozen instance.
        _set(event, "__pydantic_fields_set__", self._set)
        _set(event, "__pydantic_extra__", None)
        _set(event, "__pydantic_private__", None)
        return event

    def _steps(self, schema: Mapping[str, Any]) -> Sequence[_Step] | None:
        """Return what to do with each field of a writer, or None when its records are for the reference."""
        named: dict[str, _Skipped] = {}
        steps: list[_Step] = []
        for field in schema["fields"]:
            passed_over = _passed_over(field["type"], named)
            place = self._places.get(field["name"])
            if place is not None and label(field["type"]) != self._types[field["name"]]:
                return None
            steps.append(passed_over if place is None else place)
        written = {field["name"] for field in schema["fields"]}
        defaults = {
            field["name"]: field.get("default", _NO_DEFAULT)
            for field in latest(MemoryStored.__name__).parsed()["fields"]
        }
        return steps if all(defaults[name] is None for name in self._set - written) else None


class NativeSource(NamedTuple):
    """Where an event is, as it was read.

    Attributes:
        reader: By which it was read.
        read: With which others.
        number: Its place among these.
    """

    reader: NativeReader
    read: "Read"
    number: int


class NativeEvent(LoggedEvent):
    """A stored memory that is sound by the extension's word: its event is made when somebody asks for it.

    It lies where it lay first.

    Attributes:
        source: What it is made of.
        is_conditional: Whether it is applied only onto a certain version.
    """

    __slots__ = ("_key", "is_conditional", "source")

    def __init__(
        self, source: NativeSource, key: bytes, position: Position, version: int, logged_at: datetime
    ) -> None:
        self.source, self._key = source, key
        self.is_conditional = source.read.verdicts[source.number] == _CONDITIONAL
        self.position = self.origin = position
        self.version, self.logged_at = version, logged_at
        self._name = None

    def __getattr__(self, name: str) -> Any:
        if name != "event":
            raise AttributeError(name)
        made = self.event = self.source.reader.event(self.source.read, self.source.number)
        return made

    @property
    def name(self) -> MemoryName:
        """Return which memory it is about, by its key."""
        name = self._name
        if name is None:
            tenant, _, memory_id = self._key.partition(b"/")
            name = self._name = MemoryName(tenant.decode(), uuid_of(int(memory_id.replace(b"-", b""), 16)))
        return name


def _passed_over(schema: Any, named: dict[str, _Skipped]) -> _Skipped:
    """Return how to pass over a type, and remember those that have a name."""
    if isinstance(schema, list):
        return "union", [_passed_over(branch, named) for branch in schema]
    if isinstance(schema, str):
        if schema in _FIXED:
            return "fixed", _FIXED[schema]
        return (_WORDS[schema],) if schema in _WORDS else named[schema]
    kind = schema["type"]
    step: _Skipped
    match kind:
        case "array":
            return "array", _passed_over(schema["items"], named)
        case "map":
            return "map", _passed_over(schema["values"], named)
        case "record":
            step = "record", [_passed_over(field["type"], named) for field in schema["fields"]]
        case "fixed":
            step = "fixed", schema["size"]
        case "enum":
            step = (_WORDS[kind],)
        case _:
            return _passed_over(kind, named)
    named[schema["name"]] = step
    return step
