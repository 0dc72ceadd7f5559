"""Which records of a batch make it a part of a trace, whatever their headers hold."""

from builders import a_batch, a_record
from soma_schemas.outcomes import Outcome
from soma_streams.batch_spans import batch_span, tell_outcomes
from soma_streams.delivery.settle import Settled
from spans import A_SPAN, A_TRACE, Spans, a_traceparent, links, parent_id, trace_id

OURS = a_traceparent().encode()
OTHERS = a_traceparent("1" * 32, "2" * 16).encode()


def test_a_batch_tells_where_it_lies_and_what_became_of_its_events() -> None:
    batch = a_batch([a_record(b"x", 7), a_record(b"y", 8, headers=[("traceparent", OURS)])])
    settled = Settled(0, 9, {Outcome.APPLIED: 1, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 1})

    with Spans().recording() as spans, batch_span("postgres-sink", batch) as span:
        tell_outcomes(span, settled)

    (done,) = spans.all
    assert (done.name, trace_id(done), parent_id(done)) == ("process memory.events", A_TRACE, A_SPAN)
    assert dict(done.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "memory.events",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "postgres-sink",
        "messaging.batch.message_count": 2,
        "messaging.kafka.offset": 8,
        "soma.outcome.applied": 1,
        "soma.outcome.dead_lettered": 1,
    }


def test_records_of_several_traces_are_linked() -> None:
    records = [
        a_record(b"x", 0, headers=[("traceparent", OURS), ("tracestate", b"vendor=1")]),
        a_record(b"x", 1, headers=[("traceparent", OURS), ("tracestate", b"vendor=1")]),
        a_record(b"x", 2, headers=[("traceparent", OTHERS)]),
    ]

    with Spans().recording() as spans, batch_span("postgres-sink", a_batch(records)):
        pass

    assert sorted(map(trace_id, spans.all)) == [A_TRACE, "1" * 32]
    (work,) = [span for span in spans.all if trace_id(span) == A_TRACE]
    assert links(work) == [(A_TRACE, A_SPAN), ("1" * 32, "2" * 16)]


def test_what_is_no_trace_context_is_none() -> None:
    odd: list[list[tuple[str, bytes | None]]] = [
        [("traceparent", None)],
        [("traceparent", b"")],
        [("traceparent", b"\xff" * 100_000)],
        [("Traceparent", OURS)],
        [("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01")],
        [("tracestate", b"vendor=1")],
        [("\udcff", OURS)],
    ]
    records = [a_record(b"x", offset, headers=headers) for offset, headers in enumerate(odd)]

    with Spans().recording() as spans, batch_span("postgres-sink", a_batch(records)):
        pass

    assert spans.all == ()
