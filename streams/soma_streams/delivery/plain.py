"""Reads and checks plain MemoryStored events side by side, a field at a time, without an object for each.

As in the shortcut, the model is the one source of the rules: a record is sound here only where it is certain
that the model would accept it, and everything else goes the other way. One thing is left to PostgreSQL, which
says so in time: whether a payload is JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from soma_schemas.limits import MAX_PAYLOAD_DEPTH, Limits
from soma_schemas.moments import FIRST_LOGGED, LAST_LOGGED, millis
from soma_streams.delivery.shortcut import (
    LONG_NUMBER,
    KeyHashes,
    RepeatedTexts,
    is_plain_schema,
    may_surprise,
)
from soma_streams.transcoding.columns import UnsupportedSchemaError
from soma_streams.transcoding.fields import double_values, refuse_times, uuid_octets
from soma_streams.transcoding.finder import FieldFinder, Found
from soma_streams.transcoding.walk import Mask, Numbers, Positions, Spans, Walk
from soma_streams.transport.records import Record

_BODY = 5  # where it begins, behind magic and schema id
_UUID_BYTES = 16
_BRACES = ord("{")
_LOWER = 0x20  # what makes `{` of `[`
_ABSENT = ("coordinate", "embedding", "embedding_model", "expected_version")
_LOGGED_MILLIS = (millis(FIRST_LOGGED), millis(LAST_LOGGED))


@dataclass(frozen=True, slots=True)
class PlainEvents:
    """Valid MemoryStored events of one partition, column by column.

    None has a coordinate, an embedding or an expected version.

    Attributes:
        walk: Over their values.
        found: Where each field is.
        offsets: Their places in the partition.
        logged_at: In microseconds since 1970.
        event_ids: 16 bytes each.
        memory_ids: 16 bytes each.
        tags: Of each event, as UTF-8.
    """

    walk: Walk
    found: Mapping[str, Found]
    offsets: Positions
    logged_at: Positions
    event_ids: NDArray[np.uint8]
    memory_ids: NDArray[np.uint8]
    tags: Sequence[Sequence[bytes]]

    def __len__(self) -> int:
        return len(self.offsets)

    def pieces(self, field: str) -> list[bytes]:
        """Return the bytes of a field of each event; nothing where it is null."""
        return self.walk.pieces(cast("Spans", self.found[field]))

    def absent(self, field: str) -> Mask:
        """Return in which events a field is null."""
        null = self.found[field].null
        return null if null is not None else np.zeros(len(self), np.bool_)


class PlainReader:
    """Reads records of one writer schema.

    Args:
        finder: Of the schema's fields.
        limits: How large an event may be.
    """

    def __init__(self, finder: FieldFinder, limits: Limits) -> None:
        self._finder = finder
        self._limits = limits
        self._repeated = RepeatedTexts(limits)

    @classmethod
    def of(cls, schema: object, limits: Limits) -> "PlainReader | None":
        """Return the reader for a writer schema of MemoryStored as fastavro parses it, or None."""
        if not is_plain_schema(schema):
            return None
        try:
            return cls(FieldFinder(schema, skip=_BODY), limits)
        except UnsupportedSchemaError:
            return None

    def read(self, records: Sequence[Record]) -> PlainEvents | Mask:
        """Return the events of records that all have a value and a key, or which of them are sound.

        Args:
            records: At least one, in wire format under this schema's id.
        """
        walk, found = self._finder.find([record.value or b"" for record in records])
        if not walk.sound.all():
            return walk.sound
        strings = {name: each for name, each in found.items() if isinstance(each, Spans)}
        tags = _tags(walk, strings["tags"], self._limits)
        logged_at = np.array([record.timestamp_ms for record in records], np.int64).clip(*_LOGGED_MILLIS)
        memory_ids = uuid_octets(walk, strings["memory_id"], lower=True)
        events = PlainEvents(
            walk=walk,
            found=found,
            offsets=np.array([record.offset for record in records], np.int64),
            logged_at=logged_at * 1000,
            event_ids=uuid_octets(walk, strings["event_id"], lower=True),
            memory_ids=memory_ids,
            tags=tags,
        )
        self._check_names(events, [record.key or b"" for record in records])
        self._check_sizes(walk, strings)
        self._check_numbers(events)
        _check_text(walk, events.pieces("text"), events.pieces("subject"))
        self._check_payloads(walk, strings["payload"])
        return events if walk.sound.all() else walk.sound

    def _check_names(self, events: PlainEvents, log_keys: Sequence[bytes]) -> None:
        walk, repeated = events.walk, self._repeated
        tenants, namespaces, keys = (events.pieces(name) for name in ("tenant", "namespace", "key"))
        for rule, texts in (
            (repeated.tenants, tenants),
            (repeated.namespaces, namespaces),
            (repeated.actors, events.pieces("actor")),
            (repeated.tags, [tag for each in events.tags for tag in each]),
        ):
            unknown = {text for text in set(texts) if not rule.keeps(text)}
            if unknown and rule is repeated.tags:
                walk.refuse(np.array([not unknown.isdisjoint(each) for each in events.tags]))
            elif unknown:
                walk.refuse(np.array([text in unknown for text in texts]))
        _check_text(walk, keys)
        spelled = events.pieces("memory_id")
        walk.refuse(
            np.array(
                [
                    log_key != b"%b/%b" % name
                    for log_key, name in zip(log_keys, zip(tenants, spelled, strict=True), strict=True)
                ]
            )
        )
        unnamed = events.absent("key")
        hashed = KeyHashes()
        digests = b"".join([hashed(*names) for names in zip(tenants, namespaces, keys, strict=True)])
        given = np.frombuffer(digests, np.uint8).reshape(-1, _UUID_BYTES).copy()
        given[:, 6] = given[:, 6] & 0x0F | 0x50  # version 5
        given[:, 8] = given[:, 8] & 0x3F | 0x80  # of RFC 9562
        walk.refuse((given != events.memory_ids).any(axis=1) & ~unnamed)

    def _check_sizes(self, walk: Walk, strings: Mapping[str, Spans]) -> None:
        limits = self._limits
        # Bytes are never fewer than characters.
        for name, most in (
            ("text", limits.text_bytes),
            ("payload", limits.payload_bytes),
            ("key", limits.key_characters),
            ("subject", limits.name_characters),
        ):
            spans = strings[name]
            odd = (spans.size < 1) | (spans.size > most)
            walk.refuse(odd if spans.null is None else odd & ~spans.null)

    def _check_numbers(self, events: PlainEvents) -> None:
        walk, found = events.walk, events.found
        for name in _ABSENT:
            walk.refuse(~events.absent(name))
        for name in ("occurred_at", "expires_at"):
            if isinstance(moments := found[name], Numbers):
                refuse_times(walk, moments)
        kinds = cast("Numbers", found["kind"]).values
        walk.refuse((kinds < 0) | (kinds > 1))
        importance = double_values(walk, cast("Spans", found["importance"]))
        walk.refuse(~((importance >= 0.0) & (importance <= 1.0)))

    def _check_payloads(self, walk: Walk, spans: Spans) -> None:
        payloads = walk.pieces(spans)
        _check_text(walk, payloads)
        walk.refuse(walk.octets[spans.begin] != _BRACES)
        joined = b"\n".join((*payloads, b""))
        octets = np.frombuffer(joined, np.uint8)
        starts = np.cumsum(spans.size + 1) - spans.size - 1
        depths = np.add.reduceat((octets | _LOWER) == _BRACES, starts, dtype=np.int64)
        walk.refuse(depths > MAX_PAYLOAD_DEPTH)
        for row in np.flatnonzero(_suspects(joined, octets, starts)).tolist():
            if may_surprise(payloads[row]):
                walk.sound[row] = False


def _suspects(joined: bytes, octets: NDArray[np.uint8], starts: Positions) -> Mask:
    """Return which payloads to look at more closely: whatever `may_surprise` finds is in one of them."""
    if b"\\u" in joined:
        return np.ones(len(starts), np.bool_)
    digits = (octets - ord("0")) < 10  # noqa: PLR2004  # what is below wraps around
    odd = _begin_of_runs(digits | (octets == ord(".")), LONG_NUMBER)
    odd[1:] |= digits[:-1] & ((octets[1:] | _LOWER) == ord("e"))
    suspects: Mask = np.logical_or.reduceat(odd, starts)
    return suspects


def _begin_of_runs(where: Mask, length: int) -> Mask:
    """Return where so many in a row begin."""
    found, covered = where.copy(), 1
    while covered < length:
        step = min(covered, length - covered)
        found[:-step] &= found[step:]
        found[-step:] = False
        covered += step
    return found


def _tags(walk: Walk, spans: Spans, limits: Limits) -> Sequence[Sequence[bytes]]:
    """Return the tags of each event, and refuse what has too many, or more than are walked together."""
    items = spans.items
    if items is None:
        raise ValueError("these are no arrays")
    walk.refuse(~items.found | (items.count > limits.tags))
    tags: list[list[bytes]] = [[] for _ in range(len(spans.begin))]
    for rows, begin, size in items.steps:
        for row, tag in zip(rows.tolist(), walk.cut(begin, size), strict=True):
            tags[row].append(tag)
    return tags


def _check_text(walk: Walk, *columns: Sequence[bytes]) -> None:
    """Refuse what is no UTF-8 or holds a NUL."""
    for column in columns:
        # Joined by what ends every character that was cut off.
        if not _is_text(b"\n".join(column)):
            walk.refuse(np.array([not _is_text(each) for each in column]))


def _is_text(raw: bytes) -> bool:
    if b"\0" in raw:
        return False
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
