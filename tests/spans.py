"""Spans in memory, as the program under test ends them."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import SpanContext

from soma_schemas import tracing
from soma_schemas.open_telemetry import OpenTelemetry

A_TRACE = "0af7651916cd43dd8448eb211c80319c"
A_SPAN = "b7ad6b7169203331"


def a_traceparent(trace: str = A_TRACE, span: str = A_SPAN, *, kept: bool = True) -> str:
    """Return what a caller sends along."""
    return f"00-{trace}-{span}-{'01' if kept else '00'}"


class Spans:
    """What was ended, in that order."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        """Return them."""
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        """Return their names."""
        return [span.name for span in self.all]

    def one(self, name: str) -> ReadableSpan:
        """Return the only one of that name."""
        (span,) = [span for span in self.all if span.name == name]
        return span

    @contextmanager
    def recording(self, ratio: float = 1.0) -> Iterator["Spans"]:
        """Trace within the block."""
        provider = TracerProvider(sampler=ParentBasedTraceIdRatio(ratio))
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        tracing.use(OpenTelemetry(provider))
        try:
            yield self
        finally:
            tracing.use(None)
            provider.shutdown()


def trace_id(span: ReadableSpan) -> str:
    """Return the id of its trace."""
    return f"{_place(span).trace_id:032x}"


def span_id(span: ReadableSpan) -> str:
    """Return its id."""
    return f"{_place(span).span_id:016x}"


def parent_id(span: ReadableSpan) -> str | None:
    """Return the id of its parent."""
    parent = span.parent
    return None if parent is None else f"{parent.span_id:016x}"


def links(span: ReadableSpan) -> list[tuple[str, str]]:
    """Return to which traces and spans it links."""
    return [(f"{each.context.trace_id:032x}", f"{each.context.span_id:016x}") for each in span.links]


def _place(span: ReadableSpan) -> SpanContext:
    place = span.get_span_context()
    assert place is not None
    return place
