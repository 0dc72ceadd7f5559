"""What a row, a point and a letter must hold, and what one holds, in one shape to be compared."""

import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from judge.contract import Event, json_tree
from judge.log import Place, Record
from judge.rules import Memory, Word
from judge.stores import Point, point_document, point_labels

_CLOSE = 1e-4
_LARGE = 64 * 1024
_NO_HEADERS = {"headers", "header names"}
_MICROSECOND = timedelta(microseconds=1)


class Letter(NamedTuple):
    """A dead letter as it lies in its topic."""

    id: str
    place: Place
    record: Record
    headers: Mapping[str, str]


MEMORIES = "SELECT *, payload::text AS json FROM memories"
HISTORY = "SELECT *, content::text AS json FROM memory_history"
# Counts that are kept, and the rows that they are of.
KEPT_COUNTS = """
SELECT tenant, 'memories' AS counted, namespace, kind, sum(number)::bigint AS number
FROM namespace_counts GROUP BY tenant, namespace, kind HAVING sum(number) <> 0
UNION ALL
SELECT tenant, counted, NULL, NULL, sum(number)::bigint
FROM tenant_counts GROUP BY tenant, counted HAVING sum(number) <> 0
"""
COUNTED = """
SELECT tenant, 'memories' AS counted, namespace, kind, count(*) AS number
FROM memories WHERE NOT deleted GROUP BY tenant, namespace, kind
UNION ALL
SELECT tenant, 'links', NULL, NULL, count(*) FROM memory_links WHERE NOT deleted GROUP BY tenant
UNION ALL
SELECT tenant, 'dead_letters', NULL, NULL, count(*)
FROM dead_letters WHERE status = 'open' AND tenant IS NOT NULL GROUP BY tenant
"""
_STORE_SAYS = (
    "key", "coordinate", "kind", "text", "payload", "tags", "importance", "embedding_model", "subject",
    "source", "expires_at",
)  # fmt: skip
_CONTENT = (
    "namespace", "key", "coordinate", "kind", "text", "payload", "tags", "importance", "embedding",
    "embedding_model", "subject", "source", "expires_at", "occurred_at", "actor", "created_at",
    "access_count", "last_accessed_at",
)  # fmt: skip
_MAY_LACK = ("key", "subject", "source", "tags")


def memory_row(memory: Memory) -> dict[str, Any]:
    """Return what the row of a memory must hold."""
    return {
        "version": memory.version,
        "deleted": memory.content is None,
        "deleted_version": memory.deleted_version,
        "updated_at": memory.updated_at,
        "recent_event_ids": list(memory.recent),
        **{each: (memory.content or {}).get(each) for each in _CONTENT},
    }


def read_memory_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row of `MEMORIES` holds."""
    wanted = ("version", "deleted", "deleted_version", "updated_at", "recent_event_ids", *_CONTENT)
    payload = None if row["json"] is None else json_tree(row["json"])
    return {each: row[each] for each in wanted} | {"payload": payload}


def history_row(word: Word) -> dict[str, Any]:
    """Return what the history must say of an event."""
    outcome, event = word
    dead = outcome.name == "dead_lettered"
    fields = event.fields if event is not None else {}
    return {
        "outcome": outcome.name,
        "reason": None if dead else outcome.reason,
        "error_code": outcome.reason if dead else None,
        "event_type": event.kind if event is not None else None,
        "content": _said(event) if event is not None and outcome.name == "applied" else None,
        **{
            each: fields.get(each)
            for each in ("tenant", "memory_id", "occurred_at", "event_id", "namespace", "actor")
        },
    }


def read_history_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row of `HISTORY` says."""
    wanted = (
        "outcome",
        "reason",
        "error_code",
        "event_type",
        "occurred_at",
        "event_id",
        "namespace",
        "actor",
    )
    # Of a dead letter the row tells what its key says; the letter is compared for itself.
    named = {} if row["outcome"] == "dead_lettered" else row
    return {each: row[each] for each in wanted} | {
        "tenant": named.get("tenant"),
        "memory_id": named.get("memory_id"),
        "content": None if row["json"] is None else json_tree(row["json"]),
    }


def _said(event: Event) -> Any:
    """Return what an event said of a memory's content, as the history keeps it: without the embedding."""
    if event.kind == "MemoryStored":
        names = list(_STORE_SAYS)
    elif event.kind == "MemoryPatched":
        names = ["embedding_model" if name == "embedding" else name for name in event.fields["fields"]]
    else:
        return None
    return {name: _as_json(name, event.fields[name]) for name in names}


def _as_json(name: str, value: Any) -> Any:
    match value:
        case str() if name == "payload":
            return json_tree(value)
        case datetime():
            return value.isoformat()
        case float():
            return json_tree(repr(value + 0.0))
        case list() if name == "coordinate":
            return [json_tree(repr(number + 0.0)) for number in value]
        case _:
            return value


def memory_point(name: tuple[str, UUID], memory: Memory, model: str) -> dict[str, Any]:
    """Return what the point of a memory must hold.

    Args:
        name: Tenant and memory.
        memory: As the log makes it.
        model: Whose vectors the index compares: one that came with the event is taken as it is.
    """
    tenant, memory_id = name
    content = memory.content
    common = {
        "tenant": tenant,
        "memory_id": str(memory_id),
        "version": memory.version,
        "recent_event_ids": [str(each) for each in memory.recent],
    }
    if content is None:
        return common | {"content": None, "deleted_at": _micros(memory.updated_at), "vectors": []}
    segments = content["namespace"].split("/")
    places = [f"{tenant}/{'/'.join(segments[:count])}" for count in range(1, len(segments) + 1)]
    given = content["embedding"] if content["embedding_model"] == model else None
    return common | {
        "labels": sorted(
            [
                *(f"in:{place}" for place in (tenant, *places, f"{tenant}/{content['namespace']}/")),
                f"kind:{content['kind']}",
                *(
                    f"{each}:{content[each]}"
                    for each in ("key", "subject", "source")
                    if content[each] is not None
                ),
                *(f"tag:{tag}" for tag in content["tags"]),
                *(f"has:{each}" for each in _MAY_LACK if content[each]),
            ]
        ),
        "occurred_at": _micros(content["occurred_at"]),
        "created_at": _micros(content["created_at"]),
        "updated_at": _micros(content["updated_at"]),
        "expires_at": _in_text(content["expires_at"]),
        "content": {each: _in_text(content[each]) for each in (*_CONTENT, "updated_at")},
        "vectors": ["bm25", "dense"],
        "as given": given is not None or None,
    }


def read_point(point: Point, model: str) -> dict[str, Any]:
    """Return what a point holds."""
    payload = point.payload
    document = point_document(payload)
    content = document["content"]
    common = {each: payload.get(each) for each in ("tenant", "version")} | {
        each: document[each] for each in ("memory_id", "recent_event_ids")
    }
    vectors = sorted(name for name, vector in point.vectors.items() if vector)
    if content is None:
        return common | {"content": None, "deleted_at": payload.get("deleted_at"), "vectors": vectors}
    given = content["embedding"] if content["embedding_model"] == model else None
    content["payload"] = json_tree(content["payload"])
    return common | {
        "labels": sorted(label for label in point_labels(payload) if not label.startswith("payload:")),
        **{each: payload.get(each) for each in ("occurred_at", "created_at", "updated_at", "expires_at")},
        "content": content,
        "vectors": vectors,
        "as given": None if given is None else _same_direction(given, point.vectors.get("dense") or []),
    }


def _same_direction(given: list[float], kept: list[float]) -> bool:
    largest = max(map(abs, given))
    scaled = [number / largest for number in given]
    length = math.hypot(*scaled)
    return len(kept) == len(given) and all(
        abs(number / length - other) < _CLOSE for number, other in zip(scaled, kept, strict=True)
    )


def _in_text(value: Any) -> Any:
    return _micros(value) if isinstance(value, datetime) else value


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=moment.tzinfo)) // _MICROSECOND


def letter_of(
    original: Record, topic: str, epoch: int, codes: object, omitted: Collection[str]
) -> dict[str, Any]:
    """Return what the letter about a record must hold: the record, untouched, its place and the reason.

    Args:
        original: The record.
        topic: Where it lies.
        epoch: Of the topic.
        codes: Of which one is told.
        omitted: What the letter says that it could not keep; a value or a key that is small it must keep.
    """
    headers = [(name, value) for name, value in original.headers if not name.startswith("x-dlq-")]
    return {
        "key": _unless_large(original.key, "key" in omitted),
        "value": _unless_large(original.value, "value" in omitted),
        "headers": None if _NO_HEADERS & set(omitted) else headers,
        "x-dlq-topic": topic,
        "x-dlq-partition": str(original.place[0]),
        "x-dlq-offset": str(original.place[1]),
        "x-dlq-epoch": str(epoch),
        "x-dlq-timestamp": original.logged_at.isoformat(),
        "x-dlq-code": codes,
    }


def _unless_large(data: bytes | None, omitted: bool) -> bytes | None:  # noqa: FBT001  # one of two
    return None if omitted and len(data or b"") > _LARGE else data


def omissions(letter: Letter | None) -> frozenset[str]:
    """Return what a letter says that it does not keep."""
    said = letter.headers.get("x-dlq-omitted") if letter is not None else None
    return frozenset(said.split(",") if said else ())


def read_letter(letter: Letter) -> dict[str, Any]:
    """Return what a letter holds."""
    kept = [pair for pair in letter.record.headers if not pair[0].startswith("x-dlq-")]
    names = ("topic", "partition", "offset", "epoch", "timestamp", "code")
    return {
        "key": letter.record.key,
        "value": letter.record.value,
        "headers": None if _NO_HEADERS & omissions(letter) else kept,
        **{f"x-dlq-{name}": letter.headers.get(f"x-dlq-{name}") for name in names},
    }


def index_row(letter: Letter) -> dict[str, Any]:
    """Return what the index of dead letters must say of a letter."""
    return {
        "consumer_group": letter.headers["x-dlq-group"],
        "topic": letter.headers["x-dlq-topic"],
        "partition": letter.place[0],
        "log_offset": letter.place[1],
        "code": letter.headers["x-dlq-code"],
        "stage": letter.headers["x-dlq-stage"],
        "status": "open",
    }


def read_index_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row of that index says."""
    wanted = ("consumer_group", "topic", "partition", "log_offset", "code", "stage", "status")
    return {each: row[each] for each in wanted}
