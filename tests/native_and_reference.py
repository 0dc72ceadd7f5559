"""Holds the native extension to the reference, which takes what it calls sound, and makes the same of it."""

from collections.abc import Mapping, Sequence
from random import Random

from builders import WRITER_SCHEMAS, a_batch
from soma_schemas.events import SINK_EVENTS
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_streams.delivery.decode import Decoder, Poison
from soma_streams.delivery.fold import fold
from soma_streams.delivery.native import NativeEvent, NativeReader
from soma_streams.delivery.state import LoggedEvent
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.sinks.binary_encoding import row_encoder
from soma_streams.sinks.postgres.native_rows import NativeRows
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


class BothWays:
    """Both ways, side by side."""

    def __init__(
        self, limits: Limits = DEFAULT_LIMITS, schemas: Mapping[int, WriterSchema] = WRITER_SCHEMAS
    ) -> None:
        native = NativeReader(limits)
        self._schemas = schemas
        self._reference = Decoder(SINK_EVENTS, limits, epoch=1)
        self._native = Decoder(SINK_EVENTS, limits, epoch=1, native=native)
        self._rows = NativeRows(native)

    def agree(self, records: Sequence[Record]) -> Sequence[int]:
        """Assert that both ways come to the same, and return what the extension said of each record."""
        batch = a_batch(records)
        decoded = self._native.decode(batch, self._schemas)
        reference = self._reference.decode(batch, self._schemas)
        verdicts = list(map(self._verdict, decoded.items, reference.items))
        assert decoded.native == len(records) - verdicts.count(LOOK_CLOSER)
        return verdicts

    def memory_rows(self, records: Sequence[Record], among: Sequence[Record] = ()) -> bytes:
        """The rows of memories that are sound, among those of others that were folded."""
        events = self._native.decode(a_batch(records), self._schemas).events
        folded = fold(self._reference.decode(a_batch(among, next_offset=9), self._schemas).events, {})
        natively = [event for event in events if isinstance(event, NativeEvent)]
        return self._rows.memories(natively, changes_of(folded).memories).data

    def _verdict(self, natively: LoggedEvent | Poison, by_reference: LoggedEvent | Poison) -> int:
        if not isinstance(natively, NativeEvent):
            assert repr(natively) == repr(by_reference)
            return LOOK_CLOSER
        assert isinstance(by_reference, LoggedEvent), by_reference
        assert natively.name == by_reference.name
        expected_version = getattr(by_reference.event, "expected_version", None)
        assert natively.is_conditional == (expected_version is not None)
        if not natively.is_conditional:
            folded = fold([by_reference], {})
            memories, history = changes_of(folded).memories, history_rows(folded.settlements, ())
            assert self._rows.memories([natively], ()).data == _PACK_MEMORIES(memories)
            assert self._rows.history([natively]).data == _PACK_HISTORY(history)
        for name in ("event", "position", "origin", "version", "logged_at"):
            assert repr(getattr(natively, name)) == repr(getattr(by_reference, name))
        assert natively.event.model_fields_set == by_reference.event.model_fields_set
        return CONDITIONAL if natively.is_conditional else SOUND


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
