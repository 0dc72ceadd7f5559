"""Tracing by OpenTelemetry. Loaded only where tracing is on; no other module knows of the library."""

import atexit
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from threading import Thread
from time import time_ns
from typing import NamedTuple, Self
from uuid import uuid4

from soma_schemas.errors import ConfigurationError
from soma_schemas.http_clients import stays_here
from soma_schemas.settings import TracingSettings
from soma_schemas.tracing import Attributes, Carrier, Sending, Span, SpanKind

try:
    import requests
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ConfigurationError(
        f"tracing is on, but {error.name} is not installed",
        remedy="`pip install 'somafractalmemory[tracing]'`, or unset SOMA_TRACING__ENDPOINT",
    ) from error

_NAME = "somafractalmemory"
_EXPORT_SECONDS = 5.0
# An endpoint that is away costs spans, and a stop so long; never memory without bound.
_LAST_EXPORT_SECONDS = 3.0
_QUEUED_SPANS = 16_384
_CARRIED_CHARACTERS = 512
# Where a `traceparent` has the digit whose last bit says that the trace is kept.
_LAST_FLAG = 54
_KEPT = frozenset("13579bdf")
_CONTEXT = TraceContextTextMapPropagator()
_KINDS = {kind: trace.SpanKind[kind.name] for kind in SpanKind}


def exporting(settings: TracingSettings, service: str) -> "OpenTelemetry":
    """Return what sends spans to an endpoint, in the background, and what is left when the process ends."""
    endpoint = str(settings.endpoint)
    session = requests.Session()
    session.trust_env = not stays_here(endpoint)
    exporter = OTLPSpanExporter(
        endpoint=endpoint.rstrip("/") + "/v1/traces",
        certificate_file=None if settings.ca_file is None else str(settings.ca_file),
        headers=settings.header_fields(),
        timeout=_EXPORT_SECONDS,
        session=session,
    )
    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(settings.sample_ratio),
        resource=Resource(
            {
                "service.name": service,
                "service.namespace": _NAME,
                "service.version": version(_NAME),
                "service.instance.id": str(uuid4()),
            }
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=_QUEUED_SPANS))

    def stop() -> None:
        # The library waits for half a minute.
        last = Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(_LAST_EXPORT_SECONDS)

    atexit.register(stop)
    return OpenTelemetry(provider)


def _context_of(carrier: Carrier) -> Context:
    # Of what is too long the library would say so in the log, every time that somebody sends it.
    short = {name: value for name, value in carrier.items() if len(value) <= _CARRIED_CHARACTERS}
    return _CONTEXT.extract(short, Context())


def _may_be_kept(carrier: Carrier) -> bool:
    return carrier.get("traceparent", "")[_LAST_FLAG : _LAST_FLAG + 1] in _KEPT


class _Span:
    """A span of the library, as this platform speaks of it."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(trace.StatusCode.ERROR)


class _Sending(_Span):
    """A span of messages that are sent."""

    @property
    def carrier(self) -> Carrier:
        carrier: dict[str, str] = {}
        _CONTEXT.inject(carrier, trace.set_span_in_context(self._span))
        return carrier

    def end(self, error_type: str | None = None) -> None:
        if error_type is not None:
            self.fail(error_type)
        self._span.end()


class _Sender(NamedTuple):
    """Who sent a message, and what is told of that message alone."""

    context: Context
    place: trace.SpanContext
    own: Attributes

    @classmethod
    def of(cls, carrier: Carrier, own: Attributes) -> Self:
        context = _context_of(carrier)
        return cls(context, trace.get_current_span(context).get_span_context(), own)


class OpenTelemetry:
    """Makes spans.

    Args:
        provider: Samples and exports them.
    """

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer(_NAME, version(_NAME))

    def request(self, name: str, attributes: Attributes, carrier: Carrier) -> AbstractContextManager[Span]:
        """Return a block that serves a request: a part of the caller's trace, or the begin of one."""
        return self._current(name, trace.SpanKind.SERVER, attributes, _context_of(carrier))

    def sending(self, name: str, attributes: Attributes) -> Sending:
        """Return the sending of messages, begun: a part of what is current, or the begin of a trace."""
        return _Sending(self._tracer.start_span(name, kind=trace.SpanKind.PRODUCER, attributes=attributes))

    @contextmanager
    def batch(
        self, name: str, attributes: Attributes, messages: Iterable[tuple[Carrier, Attributes]]
    ) -> Iterator[Span]:
        """Return a block that processes messages at once: a part of each of their traces."""
        began = time_ns()
        senders: dict[tuple[int, int], _Sender] = {}
        for carrier, own in messages:
            # Most of them are not kept where a share is, and to read one takes some ten microseconds.
            if senders and not _may_be_kept(carrier):
                continue
            sender = _Sender.of(carrier, own)
            senders.setdefault((sender.place.trace_id, sender.place.span_id), sender)
        known = [each for each in senders.values() if each.place.is_valid]
        kept = [each for each in known if each.place.trace_flags.sampled]
        if not known:
            yield _Span(trace.INVALID_SPAN)
            return
        first, *others = kept or known
        kind, links = trace.SpanKind.CONSUMER, [trace.Link(each.place) for each in kept]
        with self._current(name, kind, {**attributes, **first.own}, first.context, links) as span:
            back = [trace.Link(trace.get_current_span().get_span_context())]
            try:
                yield span
            finally:
                for each in others if kept else ():
                    self._tracer.start_span(
                        name, each.context, kind, {**attributes, **each.own}, back, start_time=began
                    ).end()

    @contextmanager
    def part(self, name: str, kind: SpanKind, attributes: Attributes) -> Iterator[Span]:
        """Return a block that is a part of what is current; where nothing is, it has no span."""
        if not trace.get_current_span().is_recording():
            yield _Span(trace.INVALID_SPAN)
            return
        with self._current(name, _KINDS[kind], attributes, None) as span:
            yield span

    def ids(self) -> tuple[str, str, bool] | None:
        """Return the ids of the trace and the span that are current, and whether they are kept."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled

    @contextmanager
    def _current(
        self,
        name: str,
        kind: trace.SpanKind,
        attributes: Attributes,
        context: Context | None,
        links: list[trace.Link] | None = None,
    ) -> Iterator[Span]:
        span = self._tracer.start_span(name, context, kind, attributes, links)
        spoken = _Span(span)
        # The library would write down the text of an error, which may quote content.
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield spoken
            except BaseException as error:
                spoken.fail(type(error).__name__)
                raise
