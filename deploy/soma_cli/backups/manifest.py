"""What an archive says of itself: what the tables held, and how far of the log that is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableContent(_Part):
    """What a table holds.

    Attributes:
        rows: How many.
        digest: Of all rows together, in any order: the sums of two halves of the SHA-256 of each.
    """

    rows: int
    digest: str


class StoredWatermark(_Part):
    """How far a consumer group had come, as the tables say."""

    group: str
    topic: str
    partition: int
    epoch: int
    next_offset: int


class TopicExtent(_Part):
    """A topic when the backup was made.

    Attributes:
        id: The brokers' own; a topic that is made anew has another.
        starts: The first offset of each partition.
        ends: The next offset of each partition.
    """

    id: str
    starts: Mapping[int, int]
    ends: Mapping[int, int]


class RegisteredSchema(_Part):
    """Under which id events name a schema."""

    subject: str
    version: int
    schema_id: int | None


class DumpFile(_Part):
    """The dump within the archive."""

    bytes: int
    sha256: str


class Manifest(_Part):
    """What an archive says of itself.

    Attributes:
        format: Of archive and manifest.
        made_at: When the snapshot was taken.
        seconds: How long it took.
        product: Version of this program.
        postgres: Version of the server.
        revision: Of the tables.
        tables: What each table holds; the one with the revision is left out.
        watermarks: The log positions that the tables contain.
        epoch: Of the versions.
        declared_epoch: Of the topics that no migration touches; None where it is the same.
        topics: The topics by their names on the brokers.
        schemas: The schemas that events name.
        model: The embedder's, which the vector index was filled with.
        dimensions: Of its vectors.
        dump: The dump.
    """

    format: Literal[1] = 1
    made_at: datetime
    seconds: float
    product: str
    postgres: str
    revision: str
    tables: Mapping[str, TableContent]
    watermarks: Sequence[StoredWatermark]
    epoch: int
    declared_epoch: int | None = None
    topics: Mapping[str, TopicExtent]
    schemas: Sequence[RegisteredSchema]
    model: str
    dimensions: int
    dump: DumpFile
