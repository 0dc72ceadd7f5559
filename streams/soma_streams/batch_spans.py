"""The span of a batch: a part of the trace of each event that is traced."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from soma_schemas import tracing
from soma_streams.delivery.settle import Settled
from soma_streams.transport import RecordBatch
from soma_streams.transport.records import Record


def batch_span(group: str, batch: RecordBatch) -> AbstractContextManager[tracing.Span]:
    """Return the block in which a consumer group settles a batch."""
    if not tracing.is_on():
        return tracing.UNTRACED
    attributes: tracing.Attributes = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": batch.topic,
        "messaging.destination.partition.id": str(batch.partition),
        "messaging.consumer.group.name": group,
        "messaging.batch.message_count": len(batch.records),
    }
    return tracing.batch(f"process {batch.topic}", attributes, _senders(batch))


def tell_outcomes(span: tracing.Span, settled: Settled) -> None:
    """Tell of a batch's span what became of the events."""
    span.set({f"soma.outcome.{outcome}": count for outcome, count in settled.outcomes.items() if count})


def _senders(batch: RecordBatch) -> Iterator[tuple[tracing.Carrier, tracing.Attributes]]:
    """Give for each record with a trace context, and once for those that follow each other with the same."""
    last: tracing.Carrier = {}
    for record in batch.records:
        carrier = _carrier(record)
        if carrier and carrier != last:
            yield carrier, {"messaging.kafka.offset": record.offset}
            last = carrier


def _carrier(record: Record) -> tracing.Carrier:
    # The bytes are somebody else's: what is no trace context is none.
    return {
        name: value.decode("latin-1")
        for name, value in record.headers
        if name in tracing.CARRIED and value is not None
    }
