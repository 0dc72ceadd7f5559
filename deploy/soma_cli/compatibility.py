"""Whether the released versions of every record can read each other, told without any registry."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse

from soma_schemas.avro_schemas import AvroSchema, record_names, released


@dataclass(frozen=True)
class Incompatibility:
    """One version that cannot read what another wrote.

    Attributes:
        reasons: Why, and where in the schema.
    """

    record: str
    reader: int
    writer: int
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.record}: version {self.reader} cannot read what version {self.writer} wrote: "
            + "; ".join(self.reasons)
        )


def incompatibilities() -> list[Incompatibility]:
    """Return every pair of released versions, in both directions, that breaks FULL_TRANSITIVE."""
    return [found for record in record_names() for found in between(released(record))]


def between(versions: Sequence[AvroSchema]) -> Iterator[Incompatibility]:
    """Yield the pairs of these versions of one record in which the one cannot read the other."""
    for reader in versions:
        for writer in versions:
            if reader is writer:
                continue
            checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # as it comes
            verdict = checker.get_compatibility(parse(reader.text), parse(writer.text))
            if verdict.compatibility is not SchemaCompatibilityType.compatible:
                places = ", ".join(sorted(verdict.locations - {"/"}))
                reasons = (*sorted(verdict.messages), f"see {places}") if places else sorted(verdict.messages)
                yield Incompatibility(reader.record, reader.version, writer.version, tuple(reasons))
