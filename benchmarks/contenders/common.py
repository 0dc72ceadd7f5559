"""What every contender is told, does to the same table, and says at the end.

Contenders run as scripts, each in a process of its own, and those of other frameworks in another environment:
nothing here imports ours.
"""

import io
import json
import resource
import struct
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, cast

import fastavro

COLUMNS = (
    "tenant", "memory_id", "version", "event_id", "occurred_at", "actor", "namespace", "key", "kind", "text",
    "payload", "tags", "importance", "subject", "expires_at",
)  # fmt: skip
TABLE = "bench.memories"
WATERMARKS = "bench.watermarks"

_EPOCH = 1 << 40
_HEADER = struct.Struct(">BI")
_NAMES = ", ".join(COLUMNS)

CREATE = f"""
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE IF NOT EXISTS {TABLE} (
    tenant text NOT NULL, memory_id uuid NOT NULL, version bigint NOT NULL, event_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL, actor text NOT NULL, namespace text NOT NULL, key text,
    kind text NOT NULL, text text NOT NULL,
    payload jsonb NOT NULL, tags text[] NOT NULL, importance double precision NOT NULL,
    subject text, expires_at timestamptz, PRIMARY KEY (tenant, memory_id)
);
CREATE TABLE IF NOT EXISTS {WATERMARKS} (partition integer PRIMARY KEY, next_offset bigint NOT NULL)
"""
INCOMING = f"CREATE TEMPORARY TABLE incoming (LIKE {TABLE}) ON COMMIT DELETE ROWS"
COPY = f"COPY incoming ({_NAMES}) FROM STDIN"
# A memory may come twice in a batch, and older never overwrites newer.
MERGE = f"""
INSERT INTO {TABLE} AS held ({_NAMES})
SELECT DISTINCT ON (tenant, memory_id) {_NAMES} FROM incoming ORDER BY tenant, memory_id, version DESC
ON CONFLICT (tenant, memory_id) DO UPDATE SET {", ".join(f"{name} = EXCLUDED.{name}" for name in COLUMNS[2:])}
WHERE held.version < EXCLUDED.version
"""  # noqa: S608  # names that stand above
RAISE_WATERMARK = f"""
INSERT INTO {WATERMARKS} VALUES (%s, %s)
ON CONFLICT (partition) DO UPDATE SET next_offset = EXCLUDED.next_offset
"""  # noqa: S608  # likewise


@dataclass(frozen=True, kw_only=True)
class Order:
    """One run of one contender.

    Attributes:
        bootstrap: The broker.
        topic: What to read, from its beginning.
        group: A consumer group that is new.
        dsn: The database, as the owner of the table.
        schema: The schema of every event.
        events: When to stop: after at least so many.
        batch: Most events in one write.
        data: A folder of its own.
    """

    bootstrap: str
    topic: str
    group: str
    dsn: str
    schema: str
    events: int
    batch: int
    data: str

    def to_json(self) -> str:
        """Return the order for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def received(cls) -> "Order":
        """Return the order that this process was started with."""
        return cls(**json.loads(sys.argv[1]))


class Tally:
    """Counts what was committed, from the first event in hand to the last one in the table."""

    def __init__(self, order: Order) -> None:
        self._wanted = order.events
        self._began: float | None = None
        self._cpu = 0.0
        self._ended = 0.0
        self.events = 0

    def received(self) -> None:
        """Take note that there is something to do; the first time counts."""
        if self._began is None:
            self._cpu = _cpu_seconds()
            self._began = time.perf_counter()

    def committed(self, events: int) -> bool:
        """Count events that are in the table and acknowledged, and tell whether that is enough."""
        self.events += events
        self._ended = time.perf_counter()
        return self.enough

    @property
    def enough(self) -> bool:
        """Whether the order is done."""
        return self.events >= self._wanted

    def report(self) -> None:
        """Say how it went, as one line of JSON."""
        if self._began is None:
            raise RuntimeError("no event came")
        said = {
            "events": self.events,
            "seconds": self._ended - self._began,
            "cpu_seconds": _cpu_seconds() - self._cpu,
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


class Reading:
    """Decodes events as a loop written by hand does: with fastavro, under the schema as it is registered."""

    def __init__(self, order: Order) -> None:
        self._schema = fastavro.parse_schema(json.loads(order.schema))

    def fields(self, value: bytes) -> dict[str, Any]:
        """Return an event's fields."""
        body = io.BytesIO(value)
        body.seek(_HEADER.size)
        return cast("dict[str, Any]", fastavro.schemaless_reader(body, self._schema))

    def row(self, value: bytes, offset: int) -> list[Any]:
        """Return an event as a row of the table."""
        fields = self.fields(value)
        fields["version"] = _EPOCH + offset
        return [fields[name] for name in COLUMNS]


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
