"""The released schemas: equal to the models, never edited, compatible with each other."""

import hashlib
import io
import json
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin
from uuid import UUID

import fastavro
import pytest
from pydantic import AwareDatetime, BaseModel

from soma_schemas import avro_schemas, events
from soma_schemas.avro_schemas import AvroSchema, latest, record_names, released
from soma_schemas.events import RECORDS, Record
from soma_schemas.topics import TOPICS

RELEASES = [schema for name in record_names() for schema in released(name)]
CHECKSUMS = Path(avro_schemas.__file__).parent / "avro" / "SHA256SUMS"


def avro_type_of(annotation: Any) -> Any:
    """The Avro type that a field of this Python type must have."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return avro_type_of(get_args(annotation)[0])
    if origin in {typing.Union, types.UnionType}:
        (inner,) = [each for each in get_args(annotation) if each is not type(None)]
        return ["null", avro_type_of(inner)]
    if origin is list:
        return {"array": avro_type_of(get_args(annotation)[0])}
    if isinstance(annotation, type) and issubclass(annotation, events.PatchField):
        return "string"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {"enum": [member.value for member in annotation]}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {"record": avro_fields_of(annotation)}
    simple = {
        str: "string",
        int: "integer",
        float: "real",
        bool: "boolean",
        bytes: "bytes",
        UUID: "uuid",
        AwareDatetime: "timestamp-micros",
    }
    return simple[annotation]


def avro_fields_of(model: type[BaseModel]) -> dict[str, Any]:
    hints = typing.get_type_hints(model, include_extras=True)
    return {name: avro_type_of(hints[name]) for name in model.model_fields}


def plain(schema: Any, named: dict[str, Any]) -> Any:
    """A schema's type in the words of `avro_type_of`."""
    if isinstance(schema, list):
        return [plain(branch, named) for branch in schema]
    if isinstance(schema, str):
        words = {"int": "integer", "long": "integer", "float": "real", "double": "real"}
        return named.get(schema, words.get(schema, schema))
    if "logicalType" in schema:
        return schema["logicalType"]
    match schema["type"]:
        case "array":
            return {"array": plain(schema["items"], named)}
        case "enum":
            named[schema["name"]] = {"enum": schema["symbols"]}
            return named[schema["name"]]
        case "record":
            fields = {field["name"]: plain(field["type"], named) for field in schema["fields"]}
            return {"record": fields}
        case other:
            return plain(other, named)


@pytest.mark.parametrize("model", RECORDS, ids=lambda model: model.__name__)
def test_a_model_has_exactly_the_fields_and_types_of_its_newest_schema(model: type[Record]) -> None:
    schema = plain(latest(model.__name__).parsed(), {})

    assert schema["record"] == avro_fields_of(model)


def test_every_schema_has_a_model_and_every_model_a_schema() -> None:
    assert set(record_names()) == {model.__name__ for model in RECORDS}


def test_every_record_travels_on_some_topic() -> None:
    assert {record for topic in TOPICS for record in topic.records} == set(RECORDS)


@pytest.mark.parametrize("schema", RELEASES, ids=lambda schema: f"{schema.record}-{schema.version}")
def test_a_released_schema_is_never_edited(schema: AvroSchema) -> None:
    lines = [line.split("  ", 1) for line in CHECKSUMS.read_text(encoding="utf-8").splitlines()]
    known = {name: digest for digest, name in lines}

    digest = hashlib.sha256(schema.text.encode()).hexdigest()

    assert known[f"{schema.record}/{schema.version}.avsc"] == digest


def test_the_checksum_file_names_no_schema_that_is_gone() -> None:
    names = {line.split("  ", 1)[1] for line in CHECKSUMS.read_text(encoding="utf-8").splitlines()}

    assert names == {f"{schema.record}/{schema.version}.avsc" for schema in RELEASES}


@pytest.mark.parametrize("record", record_names())
def test_all_versions_of_a_record_read_each_other(record: str) -> None:
    golden = json.loads((Path(__file__).parent / "golden_events.json").read_text(encoding="utf-8"))
    versions = released(record)

    for writer in versions:
        value = bytes.fromhex(golden[f"{record}/{writer.version}"])
        for reader in versions:
            fields = fastavro.schemaless_reader(
                io.BytesIO(value),
                fastavro.parse_schema(writer.parsed()),
                fastavro.parse_schema(reader.parsed()),
            )
            assert isinstance(fields, dict)


@pytest.mark.parametrize("model", RECORDS, ids=lambda model: model.__name__)
def test_an_event_recorded_under_an_old_version_is_decoded_for_ever(model: type[Record]) -> None:
    golden = json.loads((Path(__file__).parent / "golden_events.json").read_text(encoding="utf-8"))
    reader = fastavro.parse_schema(latest(model.__name__).parsed())

    for schema in released(model.__name__):
        value = bytes.fromhex(golden[f"{model.__name__}/{schema.version}"])
        fields = fastavro.schemaless_reader(io.BytesIO(value), fastavro.parse_schema(schema.parsed()), reader)
        assert isinstance(fields, dict)
        event = model.validated(fields)
        again = io.BytesIO()
        fastavro.schemaless_writer(again, reader, event.model_dump())
        assert schema.version != latest(model.__name__).version or again.getvalue() == value
