"""The schema that hands a batch to the agent as it is."""

from typing import Any

import faust
from faust.types import AppT, Message

from .message import batch_of
from .records import RecordBatch


class BatchSchema(faust.Schema[None, RecordBatch]):
    """Decodes nothing.

    Faust acknowledges what it cannot decode before an agent could see it, so decoding belongs to the agent.
    """

    def loads_key(self, app: AppT, message: Message, **_: Any) -> None:
        """Return None: every record of the batch has its own key."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> RecordBatch:  # noqa: ARG002  # Faust's
        """Return the batch."""
        return batch_of(message)
