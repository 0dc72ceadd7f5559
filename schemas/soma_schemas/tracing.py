"""Spans of what this process does. Until tracing is turned on nothing is loaded for it, and nothing happens.

Spans hold places, counts, outcomes and classes of errors: never content, keys, secrets or texts of errors.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from enum import Enum, auto
from typing import Protocol

from soma_schemas.settings import TracingSettings

Attributes = Mapping[str, str | int]
# What a trace travels in (W3C Trace Context): `traceparent`, and `tracestate` where there is one.
Carrier = Mapping[str, str]
CARRIED = ("traceparent", "tracestate")
# Which store a part of kind CLIENT asks, by OpenTelemetry's conventions.
POSTGRESQL: Attributes = {"db.system.name": "postgresql"}
QDRANT: Attributes = {"db.system.name": "qdrant"}


class SpanKind(Enum):
    """What a part of a trace is to its neighbours; named as OpenTelemetry names it."""

    INTERNAL = auto()
    CLIENT = auto()


class Span(Protocol):
    """What is being done."""

    def rename(self, name: str) -> None:
        """Give it the name that is known by now."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Tell more of it."""
        ...

    def fail(self, error_type: str) -> None:
        """Say that it failed, by the class of the error or a code. Errors that leave a block do so."""
        ...


class Sending(Protocol):
    """Messages that are being sent, together."""

    @property
    def carrier(self) -> Carrier | None:
        """What to send along with each message; None: nothing."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Tell more of it."""
        ...

    def end(self, error_type: str | None = None) -> None:
        """Say that they were taken, or why not. Any thread may."""
        ...


class Tracer(Protocol):
    """What makes spans while tracing is on: `soma_schemas.open_telemetry.OpenTelemetry` is one."""

    def request(self, name: str, attributes: Attributes, carrier: Carrier) -> AbstractContextManager[Span]:
        """See `soma_schemas.tracing.request`."""
        ...

    def sending(self, name: str, attributes: Attributes) -> Sending:
        """See `soma_schemas.tracing.sending`."""
        ...

    def batch(
        self, name: str, attributes: Attributes, messages: Iterable[tuple[Carrier, Attributes]]
    ) -> AbstractContextManager[Span]:
        """See `soma_schemas.tracing.batch`."""
        ...

    def part(self, name: str, kind: SpanKind, attributes: Attributes) -> AbstractContextManager[Span]:
        """See `soma_schemas.tracing.part`."""
        ...

    def ids(self) -> tuple[str, str, bool] | None:
        """Return the ids of the trace and the span that are current, and whether they are kept."""
        ...


class _Nothing:
    """A span and a sending of which nobody hears."""

    carrier = None

    def rename(self, name: str) -> None:
        pass

    def set(self, attributes: Attributes) -> None:
        pass

    def fail(self, error_type: str) -> None:
        pass

    def end(self, error_type: str | None = None) -> None:
        pass


_NOTHING = _Nothing()
# A block without a span.
UNTRACED = nullcontext[Span](_NOTHING)
_tracer: Tracer | None = None


def start(settings: TracingSettings, service: str) -> None:
    """Trace from now on, and send spans to the endpoint until the process ends; without one, do nothing.

    Args:
        settings: Where to.
        service: Names this process in every span.

    Raises:
        ConfigurationError: The extra `tracing` is not installed.
    """
    if settings.endpoint is not None:
        from soma_schemas.open_telemetry import exporting  # noqa: PLC0415  # most of a second, where it is on

        use(exporting(settings, service))


def use(tracer: Tracer | None) -> None:
    """Trace with this from now on; None turns it off. The root of a process calls it, and nobody else.

    A program that has OpenTelemetry set up and sends memories hands over its own provider:
    `use(OpenTelemetry(provider))`.
    """
    global _tracer  # noqa: PLW0603  # like logging: handed through every call, it would be everybody's argument
    _tracer = tracer


def is_on() -> bool:
    """Say whether there can be spans: for what costs something to find out only for them."""
    return _tracer is not None


def request(name: str, attributes: Attributes, carrier: Carrier) -> AbstractContextManager[Span]:
    """Return a block that serves a request: a part of the caller's trace, or the begin of one."""
    return UNTRACED if _tracer is None else _tracer.request(name, attributes, carrier)


def sending(name: str, attributes: Attributes) -> Sending:
    """Return the sending of messages, begun: a part of what is current, or the begin of a trace."""
    return _NOTHING if _tracer is None else _tracer.sending(name, attributes)


def batch(
    name: str, attributes: Attributes, messages: Iterable[tuple[Carrier, Attributes]]
) -> AbstractContextManager[Span]:
    """Return a block that processes messages at once: a part of each of their traces.

    What is done within it belongs to the trace of the first one that is kept, whose span links to the others;
    theirs link back to it. Messages that nobody traces have no span.
    """
    return UNTRACED if _tracer is None else _tracer.batch(name, attributes, messages)


def part(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """Return a block that is a part of what is current; where nothing is, it has no span."""
    return UNTRACED if _tracer is None else _tracer.part(name, kind, attributes or {})


def log_ids() -> dict[str, str]:
    """Return `trace_id` and `span_id` of what is current, for a line of the log; nothing where nothing is."""
    ids = None if _tracer is None else _tracer.ids()
    return {} if ids is None else {"trace_id": ids[0], "span_id": ids[1]}


def exemplar() -> dict[str, str] | None:
    """Return what leads from a measurement to its trace, if that is kept."""
    ids = None if _tracer is None else _tracer.ids()
    return {"trace_id": ids[0], "span_id": ids[1]} if ids is not None and ids[2] else None
