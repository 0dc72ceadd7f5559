"""Makes records that nobody should write: valid ones, with another value, key, header, schema or wrapping."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from chaos.workload import Workload
from fuzz.schemas import Written
from soma_schemas.events import MemoryEvent
from soma_schemas.identity import identified

COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")
_VALID_SHARE = 0.3
_IN_TRANSACTION_SHARE = 0.05
_NOT_UTF8 = b"\xff\xfe"

Header = tuple[bytes, bytes | None]


@dataclass(frozen=True)
class Fuzzed:
    """A record to publish.

    Attributes:
        mutation: What was done to it, for whoever reads of a failure.
        compression: Of its batch.
        transaction: Whether it is part of one, and whether that is committed; None without one.
    """

    mutation: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    compression: str = "none"
    transaction: bool | None = None

    @property
    def has_odd_header_name(self) -> bool:
        """Whether a header's name is not UTF-8, which no client writes."""
        return any(name == _NOT_UTF8 for name, _ in self.headers)


STRINGS = (
    "", "a", "a\0b", "č" * 300, "x" * 257, "x" * 513, "\u2028", "\ufeff", "a/b", "a//b", "/", "%", "%2F",
    "%2f", "A",
    "\U0001f600" * 129, "e\u0301", "\x7f", "\x85", "\u200b", "..", "-a", "x" * 66_000, "null", "0",
)  # fmt: skip
JSONS = (
    "{}", " {} ", "[]", "null", "", "{", '{"a":1}x', '{"a":NaN}', '{"a":-Infinity}', '{"a":1e999}',
    '{"a":1e-999}',
    '{"a":1e-20000}', '{"a":0e-20000}', '{"a":1e30}', '{"a":1.0}', '{"a":-0}', '{"a":-0.0}', '{"a":1E+2}',
    '{"a":9007199254740993}', '{"a":1.7976931348623157e308}', '{"a":5e-324}', '{"a":2e-324}', '{"a":01}',
    '{"a":.5}',
    "{'a':1}", '{"a":1,}', '{"a":"\\u0000"}', '{"a":"\\ud800"}', '{"\\u0000":1}', '{"a":"\t"}', '{"a":"\\x"}',
    "\ufeff{}", '{"a":1,"a":2}', '{"a":true,"b":[null,false]}', '{"a":{},"b":[]}', '{"":1}',
    '{"a.b":{"c":1}}',
    '{"a":1' + "0" * 5000 + "}", '{"a":0.' + "0" * 400 + "1}", '{"a":0.' + "1" * 16_384 + "}",
    '{"a":9' + "9" * 400 + "}",
    '{"a":' * 64 + "1" + "}" * 64, '{"a":' * 65 + "1" + "}" * 65, '{"a":' * 5000 + "1" + "}" * 5000,
    "[" * 3000,
    '{"a":[' + "0," * 3000 + "0]}", '{"a":0.1000000000000000055511151231257827}',
    '{"a":123456789012345678901234567890}',
    '{"number":null}', '{"a":{"b":{"c":null}}}', '{"a":1e22,"b":1e23,"c":12345678.9e10}',
)  # fmt: skip
INTEGERS = (
    -(2**63), -(2**53), -1, 0, 1, 2**31 - 1, 2**31, 2**40, 2**53 - 1, 2**53, 253402300799999999,
    253402300800000000,
    -62135596800000001, -62135596800000000, 2**63 - 1,
)  # fmt: skip
DOUBLES = (0.0, -0.0, 1.0, 1.1, -1e-9, 5e-324, 1e308, math.nan, math.inf, -math.inf, 0.1 + 0.2, 1e-320)
HEADER_VALUES: tuple[bytes | None, ...] = (
    None,
    b"",
    b"0",
    b"1",
    b"5",
    b"-1",
    b"x",
    b"\xff",
    b"9" * 30,
    b" 7 ",
    b"1_0",
)
HEADER_NAMES = (
    "", "x", "x" * 3000, "č", "\U0001f600", "\0", "traceparent", "x-dlq-id", "x-dlq-group", "x-dlq-offset",
    "x-dlq-code", "x-replay-group", "x-replay-partition",
)  # fmt: skip
REPLAY = ("x-replay-offset", "x-replay-epoch", "x-replay-timestamp")
TIMES = (
    b"0",
    b"1772528400000",
    b"-62135596800000",
    b"253402300799999",
    b"253402300800000",
    b"9" * 18,
    b"946684799999",
)


class Mutations:
    """Makes records one after the other; the same ones for the same seed and schemas.

    Args:
        seed: Of everything that is chosen.
        released: The schema that events of each record are written with.
        others: Schemas that nobody released.
        foreign_ids: Schema ids of the registry that are of no event, and ids that it does not know.
    """

    def __init__(
        self,
        seed: int,
        released: Mapping[str, Written],
        others: Sequence[Written],
        foreign_ids: Sequence[int],
    ) -> None:
        self._random = Random(f"fuzz {seed}")
        self._workload = Workload(seed)
        self._released = released
        self._others = others
        self._foreign_ids = foreign_ids
        self._before = b""

    def take(self, count: int) -> Iterator[Fuzzed]:
        """Return so many more records."""
        for _ in range(count):
            record = self._next()
            self._before = record.value or b""
            yield record

    def _next(self) -> Fuzzed:
        random = self._random
        (sent,) = self._workload.take(1)
        event = sent.event
        record = Fuzzed("none", event.log_key(), self._encoded(event, event.model_dump()))
        if random.random() >= _VALID_SHARE:
            makes: tuple[Callable[[MemoryEvent, Fuzzed], Fuzzed], ...] = (
                self._bytes,
                self._field,
                self._key,
                self._headers,
                self._replayed,
                self._schema_id,
                self._other_schema,
                self._large,
            )
            record = random.choices(makes, (22, 34, 8, 10, 8, 6, 11.5, 0.5))[0](event, record)
        if record.has_odd_header_name:
            return record
        if random.random() < _IN_TRANSACTION_SHARE:
            return replace(record, transaction=random.random() < 0.6)
        return replace(record, compression=random.choice(COMPRESSIONS))

    def _encoded(self, event: MemoryEvent, fields: Mapping[str, Any]) -> bytes:
        return self._released[type(event).__name__].encode(fields)

    def _bytes(self, event: MemoryEvent, record: Fuzzed) -> Fuzzed:
        random, value = self._random, bytearray(record.value or b"")
        del event
        place = random.randrange(5, len(value))
        match random.choice(
            ("flip", "cut", "extend", "splice", "ones", "zeros", "noise", "none", "head", "repeat")
        ):
            case "flip":
                for _ in range(random.randrange(1, 9)):
                    at = random.randrange(len(value) if random.random() < 0.1 else place)
                    value[at] ^= 1 << random.randrange(8)
                return replace(record, mutation="bits flipped", value=bytes(value))
            case "cut":
                return replace(record, mutation=f"cut to {place} bytes", value=bytes(value[:place]))
            case "extend":
                more = random.randbytes(random.choice((1, 2, 300)))
                return replace(record, mutation="extended", value=bytes(value) + more)
            case "splice":
                spliced = bytes(value[:place]) + self._before[random.randrange(max(1, len(self._before))) :]
                return replace(record, mutation="spliced with the one before", value=spliced)
            case "ones":
                value[place : place + 10] = b"\xff" * 10
                return replace(record, mutation=f"ones from {place}", value=bytes(value))
            case "zeros":
                value[place : place + random.randrange(1, 40)] = b""
                return replace(record, mutation=f"gap at {place}", value=bytes(value))
            case "noise":
                return replace(record, mutation="noise", value=bytes(value[:5]) + random.randbytes(place))
            case "none":
                return replace(record, mutation="no value", value=None)
            case "head":
                return replace(record, mutation="no wire format", value=random.randbytes(random.randrange(9)))
            case _:
                return replace(record, mutation="twice in one value", value=bytes(value) + bytes(value[5:]))

    def _field(self, event: MemoryEvent, record: Fuzzed) -> Fuzzed:
        random = self._random
        fields = event.model_dump()
        name = random.choice(list(fields))
        if name == "kind":
            name = "text"
        if "payload" in fields and random.random() < 0.35:
            name = "payload"
        fields[name] = self._odd(name, fields[name])
        if name in ("namespace", "key", "coordinate") and random.random() < 0.8:
            named = self._identified(fields)
            fields["memory_id"] = named or fields["memory_id"]
        try:
            value = self._encoded(event, fields)
        except Exception:  # noqa: BLE001  # fastavro has many words for what it cannot write
            return self._bytes(event, record)
        key = record.key
        if random.random() < 0.9:
            key = f"{fields['tenant']}/{fields['memory_id']}".encode()
        return replace(record, mutation=f"odd {name}", key=key, value=value)

    def _identified(self, fields: Mapping[str, Any]) -> Any:
        try:
            return identified(
                fields["tenant"], fields["namespace"], fields.get("key"), fields.get("coordinate")
            )
        except (TypeError, ValueError):
            return None

    def _odd(self, name: str, value: Any) -> Any:
        random = self._random
        match name:
            case "payload":
                return random.choice(JSONS)
            case "occurred_at" | "expires_at" | "last_accessed_at" | "expected_version" | "count":
                return random.choice(INTEGERS)
            case "importance" | "weight":
                return random.choice(DOUBLES)
            case "coordinate":
                return [random.choice(DOUBLES) for _ in range(random.choice((0, 1, 16, 17)))]
            case "embedding":
                return [random.choice(DOUBLES) for _ in range(random.choice((0, 1, 7, 256, 4097)))]
            case "tags" | "fields":
                odd = (*STRINGS[:12], "text", "payload", "importance")
                return [random.choice(odd) for _ in range(random.choice((0, 1, 2, 65)))]
            case "event_id" | "memory_id" | "to_memory_id":
                return random.choice(
                    (str(value).upper(), f"{{{value}}}", "x" * 36, "", str(value)[:-1], f"urn:uuid:{value}")
                )
            case _:
                return random.choice(STRINGS)

    def _key(self, event: MemoryEvent, record: Fuzzed) -> Fuzzed:
        key = record.key or b""
        del event
        odd: tuple[bytes | None, ...] = (
            None, b"", b"/", key.upper(), key + b" ", b" " + key, key.replace(b"/", b"//"),
            b"nobody/" + key, b"\xff" * 40,
            key.replace(b"-", b""), key.replace(b"/", b"/{") + b"}", b"x" * 100_000, key[:-1], key + b"\0",
        )  # fmt: skip
        return replace(record, mutation="odd key", key=self._random.choice(odd))

    def _headers(self, event: MemoryEvent, record: Fuzzed) -> Fuzzed:
        random = self._random
        del event
        if random.random() < 0.1:
            return replace(record, mutation="header name that is not UTF-8", headers=((_NOT_UTF8, b"v"),))
        count = random.choice((1, 2, 3, 200))
        names = [random.choice(HEADER_NAMES) for _ in range(count)]
        headers = tuple((name.encode(), random.choice(HEADER_VALUES)) for name in names)
        return replace(record, mutation=f"headers {sorted(set(names))}"[:200], headers=headers)

    def _replayed(self, event: MemoryEvent, record: Fuzzed) -> Fuzzed:
        random = self._random
        del event
        values: list[bytes | None] = [
            random.choice((*HEADER_VALUES, b"3", b"17")),
            random.choice((b"1", b"1", b"1", b"0", b"8191", b"8192", None)),
            random.choice((*TIMES, *TIMES[1:2] * 4, None, b"x")),
        ]
        headers = [(name.encode(), value) for name, value in zip(REPLAY, values, strict=True)]
        if random.random() < 0.2:
            headers.remove(random.choice(headers))
        return replace(record, mutation=f"replay headers {dict(headers)}", headers=tuple(headers))

    def _schema_id(self, event: MemoryEvent, record: Fuzzed) -> Fuzzed:
        ids = [*self._foreign_ids, *(each.schema_id for each in self._released.values())]
        del event
        schema_id = self._random.choice(ids)
        value = b"\0" + schema_id.to_bytes(4, "big") + (record.value or b"")[5:]
        return replace(record, mutation=f"schema id {schema_id}", value=value)

    def _other_schema(self, event: MemoryEvent, record: Fuzzed) -> Fuzzed:
        schema = self._random.choice(
            [each for each in self._others if each.record == type(event).__name__] or self._others
        )
        value = schema.encode_at_random(event.model_dump(), self._random)
        return replace(record, mutation=f"schema: {schema.what}", value=value)

    def _large(self, event: MemoryEvent, record: Fuzzed) -> Fuzzed:
        size = self._random.choice((65_536, 65_537, 1_000_000, 4_000_000))
        fields = event.model_dump()
        if "text" not in fields:
            return self._bytes(event, record)
        fields["text"] = "x" * size
        return replace(
            record, mutation=f"text of {size} bytes", value=self._encoded(event, fields), compression="zstd"
        )
