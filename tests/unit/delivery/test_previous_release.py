"""Workers of the release before read what this one writes, and this one reads what that one wrote."""

import io
from typing import Annotated, Any, get_type_hints

import fastavro
import pytest
from pydantic import AfterValidator, create_model
from pydantic_core import PydanticCustomError

from builders import SCHEMA_IDS, a_batch, a_record, encoded, patched, stored
from soma_schemas import native_fields
from soma_schemas.avro_schemas import AvroSchema, released
from soma_schemas.events import SINK_EVENTS, MemoryEvent, MemoryPatched, MemoryStored, PatchField
from soma_schemas.limits import DEFAULT_LIMITS
from soma_streams.delivery import decode, native, writer_schemas
from soma_streams.delivery.decode import Decoder, Poison
from soma_streams.delivery.native import NativeEvent, NativeReader
from soma_streams.delivery.state import LoggedEvent

CHANGED: tuple[type[MemoryEvent], ...] = (MemoryStored, MemoryPatched)


def before(record: str) -> tuple[AvroSchema, ...]:
    """The versions that the release before knows."""
    versions = released(record)
    return versions[:-1] if record in {model.__name__ for model in CHANGED} else versions


def model_before(model: type[MemoryEvent]) -> type[MemoryEvent]:
    """The model of the version before: the fields of its schema, each with its rules of today."""
    hints = get_type_hints(model, include_extras=True)
    hints["fields"] = list[Annotated[str, AfterValidator(_known_before)]]
    fields: dict[str, Any] = {
        name: (hints[name], ...)
        for name in (field["name"] for field in before(model.__name__)[-1].parsed()["fields"])
        if name not in MemoryEvent.model_fields
    }
    return create_model(model.__name__, __base__=MemoryEvent, **fields)


def _known_before(field: str) -> str:
    if field not in set(PatchField) - {PatchField.SOURCE}:
        raise PydanticCustomError("enum", "no field that a patch can change")
    return field


@pytest.fixture(params=["native", "reference"])
def old_worker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """The decoder of a worker of the release before."""
    models = [model_before(model) if model in CHANGED else model for model in SINK_EVENTS]
    for module in (decode, native, writer_schemas):
        monkeypatch.setattr(module, "latest", lambda record: before(record)[-1])
    monkeypatch.setattr(writer_schemas, "released", before)
    for module in (native, native_fields):
        monkeypatch.setattr(module, "MemoryStored", models[0])
    natively = NativeReader.where_installed(DEFAULT_LIMITS) if request.param == "native" else None
    return Decoder(models, DEFAULT_LIMITS, 1, natively)


def read_by(decoder: Decoder, event: MemoryEvent) -> LoggedEvent | Poison:
    schema = writer_schemas.judged(released(type(event).__name__)[-1].text)
    assert (schema.fault, schema.version) == (None, None)  # a later version, which resolves to that one
    batch = a_batch([a_record(encoded(event), key=event.log_key())])
    (read,) = decoder.decode(batch, {SCHEMA_IDS[type(event).__name__]: schema}).items
    return read


def test_a_memory_of_this_release_is_read_without_what_is_new(old_worker: Decoder) -> None:
    event = stored(key="a", text="tea", tags=["x"], subject="mira", source="a file", expected_version=0)

    read = read_by(old_worker, event)

    assert isinstance(read, LoggedEvent), read
    assert read.event.model_dump() == event.model_dump(exclude={"source"})
    assert isinstance(read, NativeEvent) == (not native_fields.ABSENCE and old_worker._native is not None)


def test_a_patch_of_what_is_old_is_read_and_one_of_what_is_new_is_put_aside(old_worker: Decoder) -> None:
    memory = stored(key="a")
    known, new = patched(memory, text="tea", subject=None), patched(memory, text="tea", source="a file")

    read, put_aside = read_by(old_worker, known), read_by(old_worker, new)

    assert isinstance(read, LoggedEvent), read
    assert read.event.model_dump() == known.model_dump(exclude={"source"})
    assert isinstance(put_aside, Poison), put_aside
    assert put_aside.code == "invalid_value"


@pytest.mark.parametrize("model", CHANGED)
def test_an_event_of_the_release_before_says_nothing_of_what_is_new(model: type[MemoryEvent]) -> None:
    event = stored(key="a") if model is MemoryStored else patched(stored(key="a"), text="tea")
    first, *_ = released(model.__name__)
    value = io.BytesIO()
    fastavro.schemaless_writer(value, fastavro.parse_schema(first.parsed()), event.model_dump())
    number = SCHEMA_IDS[model.__name__]
    record = a_record(b"\0" + number.to_bytes(4) + value.getvalue(), key=event.log_key())

    for natively in (None, NativeReader.where_installed(DEFAULT_LIMITS)):
        decoder = Decoder(SINK_EVENTS, DEFAULT_LIMITS, 1, natively)
        (read,) = decoder.decode(a_batch([record]), {number: writer_schemas.judged(first.text)}).items
        assert isinstance(read, LoggedEvent), read
        assert read.event == event
        assert read.event.model_dump()["source"] is None
