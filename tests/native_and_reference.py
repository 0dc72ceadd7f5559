"""Holds the native extension to the reference, which takes what it calls sound, and makes the same of it."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from builders import WRITER_SCHEMAS, a_batch
from soma_schemas.events import SINK_EVENTS
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_streams.delivery.decode import Decoder
from soma_streams.delivery.fold import fold
from soma_streams.delivery.native import NativeReader
from soma_streams.delivery.state import LoggedEvent
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.sinks.binary_encoding import row_encoder
from soma_streams.sinks.postgres.native_rows import native_layouts
from soma_streams.sinks.postgres.row_types import HistoryRow, MemoryRow
from soma_streams.sinks.postgres.rows import changes_of, history_rows
from soma_streams.transport.records import Record

SMALL = Limits(
    text_bytes=12,
    payload_bytes=60,
    tags=3,
    tag_characters=4,
    key_characters=6,
    name_characters=8,
    coordinate_dimensions=2,
    embedding_dimensions=3,
)
LOOK_CLOSER, SOUND, CONDITIONAL = range(3)
_PACK_MEMORIES, _PACK_HISTORY = row_encoder(MemoryRow), row_encoder(HistoryRow)


class Reference(Decoder):
    """The decoder as it is without the extension."""

    def _plain(self, record: Record) -> None:
        del record


class BothWays:
    """Both ways, side by side."""

    def __init__(
        self, limits: Limits = DEFAULT_LIMITS, schemas: Mapping[int, WriterSchema] = WRITER_SCHEMAS
    ) -> None:
        self._schemas = schemas
        self._reference = Reference(SINK_EVENTS, limits, epoch=1)
        self._native = NativeReader(limits)
        self._native.learn(schemas)
        self._layouts = native_layouts(self._native.reader)

    def agree(self, records: Sequence[Record]) -> Sequence[int]:
        """Assert that both ways come to the same, and return what the extension said of each record."""
        read = self._native.reader.read(
            [record.value for record in records], [record.key for record in records]
        )
        assert len(read.verdicts) == len(records)
        for number, (record, verdict) in enumerate(zip(records, read.verdicts, strict=True)):
            if verdict == LOOK_CLOSER:
                continue
            batch = a_batch([record])
            (item,) = self._reference.decode(batch, self._schemas).items
            assert isinstance(item, LoggedEvent), record
            made = self._native.event(read, number)
            assert repr(made) == repr(item.event)
            assert made.model_fields_set == item.event.model_fields_set
            conditional = getattr(item.event, "expected_version", None) is not None
            assert verdict == (CONDITIONAL if conditional else SOUND)
            if not conditional:
                self._assert_rows(read, number, item, batch.partition)
        return read.verdicts

    def memory_rows(self, records: Sequence[Record]) -> bytes:
        """The rows of memories that are sound."""
        read = self._native.reader.read([each.value for each in records], [each.key for each in records])
        count = len(records)
        return read.rows(self._layouts.memories, range(count), [1] * count, [0] * count, 0, in_order=True)

    def _assert_rows(self, read: Any, number: int, item: LoggedEvent, partition: int) -> None:
        folded = fold([item], {})
        place = [item.version], [int(item.logged_at.timestamp()) * 1_000_000 + item.logged_at.microsecond]
        memories, history = (
            read.rows(layout, [number], *place, partition, in_order=True) for layout in self._layouts
        )
        assert memories == _PACK_MEMORIES(changes_of(folded).memories)
        assert history == _PACK_HISTORY(history_rows(folded.settlements, ()))


def mutated(value: bytes, random: Random) -> bytes:
    """A value with something of its body changed, cut out, put in, or from elsewhere in it."""
    body = bytearray(value)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        place = random.randrange(5, len(body) + 1)
        end = min(len(body), place + random.choice((1, 1, 2, 8, 40)))
        match random.randrange(6):
            case 0 if place < len(body):
                body[place] ^= 1 << random.randrange(8)
            case 1 if place < len(body):
                body[place] = random.choice((0, 1, 2, 3, 0x7F, 0x80, 0xC3, 0xFF, random.randrange(256)))
            case 2:
                del body[place:end]
            case 3:
                body[place:place] = random.randbytes(random.choice((1, 2, 9)))
            case 4:
                source = random.randrange(5, len(body) + 1)
                body[place:end] = body[source : source + end - place]
            case _:
                body[place:place] = bytes(
                    random.choice((b"\\u", b'"', b"{", b"1e9", b"-", b"%25", b"\xed\xa0\x80"))
                )
    return bytes(body)
