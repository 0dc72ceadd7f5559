"""`python -m benchmarks.decoding`: from values to rows in this process, natively and by the reference."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import fastavro

from benchmarks.events import made_up_events
from benchmarks.stage import CLOCK, tell
from soma_schemas.avro_schemas import latest
from soma_schemas.events import SINK_EVENTS, MemoryStored
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.wire_format import wire_header
from soma_streams.delivery.decode import Decoded, Decoder, Legible
from soma_streams.delivery.fold import fold
from soma_streams.delivery.native import NativeEvent, NativeReader
from soma_streams.delivery.writer_schemas import judged
from soma_streams.garbage_collection import collect_rarely
from soma_streams.sinks.binary_encoding import row_encoder
from soma_streams.sinks.postgres.native_rows import NativeRows
from soma_streams.sinks.postgres.row_types import HistoryRow, MemoryRow
from soma_streams.sinks.postgres.rows import changes_of, history_rows
from soma_streams.transport.records import Record, RecordBatch, TimestampType

_BATCH = 2000
_ROUNDS = 7
SCHEMAS = {1: judged(latest(MemoryStored.__name__).text)}
_PACK_MEMORIES, _PACK_HISTORY = row_encoder(MemoryRow), row_encoder(HistoryRow)


def main() -> None:
    """Print microseconds per event, at the best of several rounds."""
    collect_rarely()  # as workers do
    batch, single = batch_of(_BATCH), batch_of(1)
    native = NativeReader(DEFAULT_LIMITS)
    ways: dict[str, tuple[Decoder, Callable[[Decoded[Legible]], None]]] = {
        "native": (
            Decoder(SINK_EVENTS, DEFAULT_LIMITS, 1, native),
            partial(native_rows, NativeRows(native)),
        ),
        "reference": (Decoder(SINK_EVENTS, DEFAULT_LIMITS, 1), _folded_rows),
    }
    for name, (decoder, rows) in ways.items():
        decode = partial(decoder.decode, schemas=SCHEMAS)

        def whole(of: RecordBatch, decode: Callable[[RecordBatch], Decoded[Legible]] = decode) -> None:
            rows(decode(of))  # noqa: B023  # called within this turn of the loop

        tell(f"{name:10} decoded          {_best(lambda: decode(batch), _BATCH):7.1f}")  # noqa: B023
        tell(f"{name:10} decoded to rows  {_best(lambda: whole(batch), _BATCH):7.1f}")
        tell(f"{name:10} one event alone  {_best(lambda: whole(single), 1):7.1f}")
        with ThreadPoolExecutor(2) as threads:
            both = _best(lambda: list(threads.map(whole, [batch, batch])), 2 * _BATCH)
        tell(f"{name:10} in two threads   {both:7.1f}")


def _best(work: Callable[[], object], events: int) -> float:
    seconds: list[float] = []
    for _ in range(_ROUNDS):
        began = CLOCK.monotonic()
        work()
        seconds.append(CLOCK.monotonic() - began)
    return min(seconds) / events * 1e6


def native_rows(rows: NativeRows, decoded: Decoded[Legible]) -> None:
    """Make the rows of events that were read natively."""
    events = [each for each in decoded.events if isinstance(each, NativeEvent)]
    if len(events) != len(decoded.items):
        raise ValueError("not every event was read natively")
    rows.memories(events, ())
    rows.history(events)


def _folded_rows(decoded: Decoded[Legible]) -> None:
    folded = fold(decoded.events, {})
    _PACK_MEMORIES(changes_of(folded).memories)
    _PACK_HISTORY(history_rows(folded.settlements, ()))


def batch_of(count: int) -> RecordBatch:
    """Return a batch of so many stored memories."""
    events = made_up_events(2 * count)
    return RecordBatch.of(
        ("memory.events", 0), _records(list({e.memory_id: e for e in events}.values())[:count])
    )


def _records(events: Sequence[MemoryStored]) -> list[Record]:
    records: list[Record] = []
    for offset, event in enumerate(events):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, SCHEMAS[1].parsed, event.model_dump())
        value = wire_header(1) + body.getvalue()
        records.append(
            Record(
                offset,
                1_772_528_400_000 + offset // 50,
                TimestampType.LOG_APPEND_TIME,
                event.log_key(),
                value,
                (),
            )
        )
    return records


if __name__ == "__main__":
    main()
