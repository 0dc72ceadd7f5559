"""`python -m benchmarks.tracing`: what the spans of a batch cost for each of its events, off and on."""

from collections.abc import Sequence
from time import process_time_ns

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from soma_schemas import tracing
from soma_schemas.open_telemetry import OpenTelemetry
from soma_streams.batch_spans import batch_span
from soma_streams.transport.records import Record, RecordBatch, TimestampType

_EVENTS = 2000
_PARTS = 4
_TIMES = 5


class Encoding(SpanExporter):
    """Does with spans what an exporter does, up to the wire."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode them."""
        encode_spans(spans).SerializePartialToString()
        return SpanExportResult.SUCCESS


def a_batch(senders: int, *, kept: bool = True) -> RecordBatch:
    """Return a batch from so many senders; from none, without their traces."""
    records = []
    for number in range(_EVENTS):
        sender = number % senders + 1 if senders else 0
        header = f"00-{sender:032x}-{sender:016x}-{'01' if kept else '00'}"
        headers = (("traceparent", header.encode()),) if sender else ()
        records.append(Record(number, 0, TimestampType.LOG_APPEND_TIME, b"key", b"x" * 600, headers))
    return RecordBatch.of(("memory.events", 0), records)


def cost(batch: RecordBatch, rounds: int) -> float:
    """Return microseconds of CPU for each event, at best."""

    def once() -> None:
        with batch_span("group", batch):
            for _ in range(_PARTS):
                with tracing.part("write"):
                    pass

    best = float("inf")
    for _ in range(_TIMES):
        began = process_time_ns()
        for _ in range(rounds):
            once()
        best = min(best, (process_time_ns() - began) / rounds / _EVENTS / 1000)
    return best


def main() -> None:
    """Print the table of `docs/guides/tracing.md`."""
    everybody = a_batch(_EVENTS)
    print(f"off: {cost(everybody, 2000):.4f}")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Encoding(), max_queue_size=16_384))
    tracing.use(OpenTelemetry(provider))
    print(f"on, events without a trace: {cost(a_batch(0), 20):.2f}")
    print(f"on, all of one request: {cost(a_batch(1), 20):.2f}")
    print(f"on, a request each, none kept: {cost(a_batch(_EVENTS, kept=False), 20):.2f}")
    print(f"on, a request each, all kept: {cost(everybody, 5):.0f}")


if __name__ == "__main__":
    main()
