"""The released Avro schemas: every version of every record, kept for ever."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

AVRO_NAMESPACE = "soma.memory"


@dataclass(frozen=True)
class AvroSchema:
    """One released version of a record's schema.

    Attributes:
        record: Its name without the namespace, which is also the name of its event model.
        version: Counted from 1.
        text: The schema as released and as registered.
    """

    record: str
    version: int
    text: str

    @property
    def full_name(self) -> str:
        """Return the name with its namespace."""
        return f"{AVRO_NAMESPACE}.{self.record}"

    def parsed(self) -> dict[str, Any]:
        """Return the schema as JSON."""
        schema: dict[str, Any] = json.loads(self.text)
        return schema


@cache
def released(record: str) -> tuple[AvroSchema, ...]:
    """Return all released versions of a record, oldest first.

    Raises:
        KeyError: There is no such record.
    """
    folder = files("soma_schemas") / "avro" / record
    if not folder.is_dir():
        raise KeyError(record)
    numbers = sorted(int(file.name.removesuffix(".avsc")) for file in folder.iterdir())
    return tuple(
        AvroSchema(record, number, (folder / f"{number}.avsc").read_text(encoding="utf-8"))
        for number in numbers
    )


def latest(record: str) -> AvroSchema:
    """Return the newest released version of a record.

    Raises:
        KeyError: There is no such record.
    """
    return released(record)[-1]


def record_names() -> tuple[str, ...]:
    """Return the names of all records that have a schema."""
    return tuple(sorted(entry.name for entry in (files("soma_schemas") / "avro").iterdir() if entry.is_dir()))
