"""The message in which Faust carries a batch to its agent."""

from typing import cast

from faust.types import TP, ConsumerMessage, Message

from .records import RecordBatch, TimestampType


class BatchMessage(ConsumerMessage):
    """Carries one batch; `tracked` tells that an agent has it, `abandoned` that it will not acknowledge it.

    Args:
        batch: What it carries, as its value.
        generation_id: The group's generation, by which streams recognise messages of a former one.
    """

    def __init__(self, batch: RecordBatch, generation_id: int) -> None:
        last = batch.records[-1] if batch.records else None
        super().__init__(
            batch.topic,
            batch.partition,
            batch.first_offset,
            last.timestamp_ms / 1000.0 if last is not None else 0.0,
            last.timestamp_type if last is not None else TimestampType.CREATE_TIME,
            None,
            None,
            cast("bytes", batch),  # Faust passes it on untouched, to the topic's schema
            None,
            0,
            batch.size_bytes,
            TP(batch.topic, batch.partition),
            generation_id=generation_id,
        )
        self.abandoned = False

    @property
    def batch(self) -> RecordBatch:
        """The batch."""
        return batch_of(self)


def batch_of(message: Message) -> RecordBatch:
    """Return the batch that a message carries."""
    return cast("RecordBatch", message.value)
