"""Released schemas are checked against each other without any registry."""

import json
from typing import Any

import pytest

from soma_cli.compatibility import between, incompatibilities
from soma_command import Soma
from soma_schemas.avro_schemas import AvroSchema


def _version(number: int, **fields: Any) -> AvroSchema:
    schema = {
        "type": "record",
        "name": "Cup",
        "namespace": "soma.memory",
        "fields": [{"name": name, **field} for name, field in fields.items()],
    }
    return AvroSchema("Cup", number, json.dumps(schema))


def test_everything_released_can_read_everything_else(soma: Soma) -> None:
    assert incompatibilities() == []
    assert soma("schemas", "compatibility").code == 0


def test_a_new_field_with_a_default_is_compatible_both_ways() -> None:
    old = _version(1, size={"type": "int"})
    new = _version(2, size={"type": "int"}, lid={"type": "boolean", "default": False})

    assert list(between([old, new])) == []


def test_a_new_field_without_a_default_breaks_reading_what_is_old() -> None:
    old = _version(1, size={"type": "int"})
    new = _version(2, size={"type": "int"}, lid={"type": "boolean"})

    (found,) = between([old, new])

    assert (found.record, found.reader, found.writer) == ("Cup", 2, 1)
    assert "lid" in str(found)


def test_a_changed_type_breaks_both_ways() -> None:
    old, new = _version(1, size={"type": "int"}), _version(2, size={"type": "string"})

    assert [(each.reader, each.writer) for each in between([old, new])] == [(1, 2), (2, 1)]


@pytest.mark.parametrize("gap", [2, 3])
def test_versions_are_held_against_all_others_and_not_only_the_last(gap: int) -> None:
    versions = [_version(1, size={"type": "int"})]
    versions += [_version(number, size={"type": "long"}) for number in range(2, gap + 1)]

    found = list(between(versions))

    assert {(each.reader, each.writer) for each in found} == {(1, number) for number in range(2, gap + 1)}
