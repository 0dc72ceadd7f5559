"""`python -m benchmarks.encryption`: what sealing an event takes, and what opening it adds to decoding."""

import asyncio
import io
import zlib
from collections.abc import Collection, Mapping
from uuid import UUID

import fastavro
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.decoding import SCHEMAS, batch_of
from benchmarks.stage import CLOCK, tell
from soma_schemas.avro_schemas import latest
from soma_schemas.encryption.sealing import DataKey, EventName, seal
from soma_schemas.events import SINK_EVENTS, SealedEvent
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.wire_format import wire_header
from soma_streams.delivery.decode import Decoder
from soma_streams.delivery.native import NativeReader
from soma_streams.delivery.sealed_events import KnownKey, SealedEvents
from soma_streams.delivery.writer_schemas import judged
from soma_streams.garbage_collection import collect_rarely
from soma_streams.transport.records import Record, RecordBatch

_BATCH = 2000
_ROUNDS = 9
_TENANT = "bench"
_KEY = DataKey(UUID(int=7), AESGCM(bytes(32)))
_SEALED = judged(latest(SealedEvent.__name__).text)
_SCHEMAS = SCHEMAS | {2: _SEALED}


class _Keys:
    async def read(self, key_ids: Collection[UUID]) -> Mapping[UUID, KnownKey]:
        """Return the one key."""
        return {key_id: KnownKey(_TENANT, _KEY) for key_id in key_ids}


def main() -> None:
    """Print microseconds for an event, plain and sealed by turns, at the best of some rounds; and sizes."""
    collect_rarely()  # as workers do
    plain = batch_of(_BATCH)
    sealed = RecordBatch.of(("memory.events", 0), [_sealed(record) for record in plain.records])
    opening = SealedEvents(_Keys(), DEFAULT_LIMITS, 1)
    sealing: list[float] = []
    for native in (NativeReader(DEFAULT_LIMITS), None):
        decoder = Decoder(SINK_EVENTS, DEFAULT_LIMITS, 1, native)
        without: list[float] = []
        opened: list[float] = []
        for _ in range(_ROUNDS):
            began = CLOCK.monotonic()
            decoder.decode(plain, _SCHEMAS)
            without.append(CLOCK.monotonic() - began)
            began = CLOCK.monotonic()
            asyncio.run(_decoded(opening, decoder, sealed))
            opened.append(CLOCK.monotonic() - began)
            began = CLOCK.monotonic()
            for record in plain.records:
                _sealed(record)
            sealing.append(CLOCK.monotonic() - began)
        way = "reference" if native is None else "native"
        ratio = min(opened) / min(without)
        tell(f"{way:10} plain {_each(without):6.1f}  sealed {_each(opened):6.1f}  ratio {ratio:.2f}")
    tell(f"sealing    {_each(sealing):6.1f}")
    sizes = [_size(batch) for batch in (plain, sealed)]
    tell(f"bytes an event, compressed: plain {sizes[0]:.0f}, sealed {sizes[1]:.0f}")


async def _decoded(opening: SealedEvents, decoder: Decoder, batch: RecordBatch) -> None:
    opened = await opening.open(batch, _SCHEMAS)
    if len(opened.whole(decoder.decode(opened.batch, _SCHEMAS)).events) != _BATCH:
        raise ValueError("not every event was opened")


def _sealed(record: Record) -> Record:
    """Return a record as a publisher seals it: its name comes from its key here."""
    key, value = record.key or b"", record.value or b""
    name = EventName(_TENANT, UUID(key[-36:].decode()), UUID(int=record.offset))
    body = io.BytesIO()
    body.write(wire_header(2))
    fastavro.schemaless_writer(body, _SEALED.parsed, vars(seal(value, _KEY, name)))
    return record._replace(value=body.getvalue())


def _each(seconds: list[float]) -> float:
    return min(seconds) / _BATCH * 1e6


def _size(batch: RecordBatch) -> float:
    return len(zlib.compress(b"".join(record.value or b"" for record in batch.records))) / _BATCH


if __name__ == "__main__":
    main()
