"""Faust's monitor, counting records where Faust counts messages."""

from typing import Any

from faust.sensors import Monitor
from faust.types import TP, EventT, Message, StreamT

from .message import BatchMessage


def records_in(message: Message) -> int:
    """Return how many records a message carries."""
    return len(message.batch) if isinstance(message, BatchMessage) else 1


class BatchMonitor(Monitor):
    """Counts the records in each batch, and an event as active until its batch is acknowledged."""

    def on_message_in(self, tp: TP, offset: int, message: Message) -> None:
        """Count the records that reach a stream."""
        super().on_message_in(tp, offset, message)
        more = records_in(message) - 1
        self.messages_received_total += more
        self.messages_active += more
        self.messages_received_by_topic[tp.topic] += more
        if isinstance(message, BatchMessage):
            self.tp_read_offsets[tp] = message.batch.last_offset

    def on_stream_event_in(
        self, tp: TP, offset: int, stream: StreamT[Any], event: EventT[Any]
    ) -> dict[str, Any] | None:
        """Count the records that an agent starts to work on."""
        state = super().on_stream_event_in(tp, offset, stream, event)
        more = records_in(event.message) - 1
        self.events_total += more
        self.events_active += more
        self.events_by_stream[self.stream_lookup[stream]] += more
        self.events_by_task[self.task_lookup[stream.task_owner]] += more
        return state

    def on_message_out(self, tp: TP, offset: int, message: Message) -> None:
        """Count the records that are acknowledged."""
        super().on_message_out(tp, offset, message)
        acknowledged = records_in(message)
        self.messages_active -= acknowledged - 1
        # A stream that does not acknowledge by itself never reports an event's end, so it ends here.
        self.events_active -= acknowledged
        if message.time_total is not None:
            self.events_runtime.append(message.time_total)
