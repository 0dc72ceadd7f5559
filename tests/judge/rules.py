"""What the log makes of memories: the rules of section 6 of the design, written down once more."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from judge.contract import Event, Limits, OneOf, Poison, json_tree, plain_tree, version_of
from judge.log import Place

REMEMBERED = 16

Name = tuple[str, UUID]
"""Tenant and memory."""
Edge = tuple[str, UUID, str, UUID]
"""Tenant, from, link type, to."""
HistoryKey = tuple[int, int, datetime]
"""Partition, version, and when the log received it."""


class Memory(NamedTuple):
    """A memory after an event.

    Attributes:
        deleted_version: Of the last deletion, or of the last change of hands; 0 for none.
        updated_at: Of the last change, or of the end.
        recent: The last event ids, newest first.
        content: None when it is dead.
    """

    version: int
    deleted_version: int
    updated_at: datetime
    recent: tuple[UUID, ...]
    content: Mapping[str, Any] | None


class Link(NamedTuple):
    """An edge after an event; a weight of None ends it.

    Attributes:
        recent: The last event ids, newest first.
    """

    version: int
    weight: float | None
    recent: tuple[UUID, ...]


class Outcome(NamedTuple):
    """What became of a record in a group."""

    name: str
    reason: str | OneOf | None = None


class Word(NamedTuple):
    """A line of the history."""

    outcome: Outcome
    event: Event | None


def merge_patch(target: Any, patch: Any) -> Any:
    """Return what RFC 7396 makes of a target."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


class Ledger:
    """What one sink must hold after the records that it was told of.

    Args:
        epoch: Of the topic.
        limits: How large a memory may become.
        vector_sizes: Of the models whose vectors this sink compares; none for Postgres.

    Attributes:
        memories: Tombstones included.
        links: Ended ones included.
        history: One word for each place of the log.
        outcomes: What became of each record.
    """

    def __init__(self, epoch: int, limits: Limits, vector_sizes: Mapping[str, int]) -> None:
        self._epoch = epoch
        self._limits = limits
        self._vector_sizes = vector_sizes
        self.memories: dict[Name, Memory] = {}
        self.links: dict[Edge, Link] = {}
        self.history: dict[HistoryKey, Word] = {}
        self.outcomes: dict[Place, Outcome] = {}

    def apply(self, item: Event | Poison, logged_at: datetime) -> None:
        """Take the next record of its partition, which the log received at that time."""
        partition, offset = item.place
        if isinstance(item, Event):
            outcome, key = self._settle(item), (item.origin, item.version, item.logged_at)
        else:
            outcome = Outcome("dead_lettered", item.codes)
        self.outcomes[item.place] = outcome
        if not isinstance(item, Event) or outcome.name == "dead_lettered":
            key = (partition, version_of(self._epoch, offset), logged_at)
            self.history.setdefault(key, Word(outcome, None))
            return
        known = self.history.get(key)
        # The first word stays, but that of a dead letter which was replayed, or was applied after all.
        if known is None or (
            known.outcome.name == "dead_lettered" and (item.replayed or outcome.name == "applied")
        ):
            self.history[key] = Word(outcome, item)

    def link_ended(self, edge: Edge) -> bool:
        """Say whether nobody sees an edge: it was ended, or is older than the end of where it begins."""
        link = self.links[edge]
        memory = self.memories.get((edge[0], edge[1]))
        return link.weight is None or (memory is not None and memory.deleted_version > link.version)

    def _settle(self, event: Event) -> Outcome:
        fields = event.fields
        name = (fields["tenant"], fields["memory_id"])
        before = self.memories.get(name)
        living = before.content if before is not None else None
        elsewhere = living is not None and living["namespace"] != fields["namespace"]
        if event.kind in ("MemoryLinked", "MemoryUnlinked"):
            return Outcome("superseded", "wrong_namespace") if elsewhere else self._link(event)
        if before is not None and fields["event_id"] in before.recent:
            return Outcome("superseded", "duplicate")
        if before is not None and before.version >= event.version:
            return Outcome("superseded", "older")
        if elsewhere:
            if fields.get("key") is None and fields.get("coordinate") is None:
                return Outcome("superseded", "wrong_namespace")
            living = None  # put there by guessing: the id follows from this very namespace
        found = before.version if before is not None and living is not None else 0
        if fields.get("expected_version") not in (None, found):
            return Outcome("superseded", "version_mismatch")
        if living is None and event.kind in ("MemoryPatched", "MemoryExpired", "MemoryAccessed"):
            return Outcome("superseded", "not_found")
        if event.kind == "MemoryExpired" and _has_another_deadline(fields, living or {}):
            return Outcome("superseded", "deadline_moved")
        size = self._vector_sizes.get(fields.get("embedding_model") or "")
        if size is not None and len(fields["embedding"]) != size:
            return Outcome("dead_lettered", OneOf(["embedding_dimensions"]))
        content = _content(event, living)
        if content is not None and event.kind == "MemoryPatched":
            text = json.dumps(plain_tree(content["payload"]), ensure_ascii=False)
            if len(text.encode()) > self._limits.payload_bytes:
                return Outcome("dead_lettered", OneOf(["poison"]))
        ended = before.deleted_version if before is not None else 0
        self.memories[name] = Memory(
            version=event.version,
            deleted_version=max(ended, event.version) if content is None or elsewhere else ended,
            updated_at=event.logged_at if content is None else content["updated_at"],
            recent=(fields["event_id"], *(before.recent if before is not None else ()))[:REMEMBERED],
            content=content,
        )
        return Outcome("applied")

    def _link(self, event: Event) -> Outcome:
        fields = event.fields
        edge = (fields["tenant"], fields["memory_id"], fields["link_type"], fields["to_memory_id"])
        known = self.links.get(edge)
        recent = known.recent if known is not None else ()
        if fields["event_id"] in recent:
            return Outcome("superseded", "duplicate")
        if known is not None and known.version >= event.version:
            return Outcome("superseded", "older")
        remembered = (fields["event_id"], *recent)[:REMEMBERED]
        self.links[edge] = Link(event.version, fields.get("weight"), remembered)
        return Outcome("applied")


def _has_another_deadline(seen: Mapping[str, Any], living: Mapping[str, Any]) -> bool:
    by_policy = seen.get("updated_at")
    if by_policy is None:
        return bool(living["expires_at"] != seen["expires_at"])
    return living["expires_at"] not in {None, seen["expires_at"]} or bool(living["updated_at"] != by_policy)


def _content(event: Event, living: Mapping[str, Any] | None) -> dict[str, Any] | None:
    fields = event.fields
    if event.kind in ("MemoryDeleted", "MemoryExpired"):
        return None
    if event.kind == "MemoryStored":
        kept = living or {"created_at": event.logged_at, "access_count": 0, "last_accessed_at": None}
        said = {name: value for name, value in fields.items() if name not in _NO_CONTENT}
        return {
            **said,
            "payload": json_tree(fields["payload"]),
            "created_at": kept["created_at"],
            "access_count": kept["access_count"],
            "last_accessed_at": kept["last_accessed_at"],
            "updated_at": event.logged_at,
        }
    content = dict(living or {})
    if event.kind == "MemoryAccessed":
        content["access_count"] += fields["count"]
        content["last_accessed_at"] = max(
            content["last_accessed_at"] or fields["last_accessed_at"], fields["last_accessed_at"]
        )
        return content
    named = fields["fields"]
    if "text" in named:
        content |= {"embedding": None, "embedding_model": None}
    content |= {name: fields[name] for name in named if name != "payload"}
    if "embedding" in named:
        content["embedding_model"] = fields["embedding_model"]
    if "payload" in named:
        content["payload"] = merge_patch(content["payload"], json_tree(fields["payload"]))
    return content | {"actor": fields["actor"], "updated_at": event.logged_at}


_NO_CONTENT = ("event_id", "tenant", "memory_id", "expected_version")
