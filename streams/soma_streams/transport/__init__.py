"""A Faust transport that hands agents micro-batches of one partition and commits only what is acknowledged.

It knows nothing of what the records mean, and imports nothing of the packages around it.
"""

from .consumer import Consumer
from .driver import Transport, batches, configure, consumer_of
from .lanes import Unacknowledged
from .limits import Limits
from .monitor import BatchMonitor
from .options import Isolation, Options, app_settings
from .records import Record, RecordBatch, TimestampType, TopicPartition
from .schema import BatchSchema
from .transport_errors import (
    IncompatibleRuntimeError,
    MissingTopicError,
    MisuseError,
    PositionError,
    RecordsGoneError,
    TransportError,
    UnsafeSettingsError,
)

__all__ = [
    "BatchMonitor",
    "BatchSchema",
    "Consumer",
    "IncompatibleRuntimeError",
    "Isolation",
    "Limits",
    "MissingTopicError",
    "MisuseError",
    "Options",
    "PositionError",
    "Record",
    "RecordBatch",
    "RecordsGoneError",
    "TimestampType",
    "TopicPartition",
    "Transport",
    "TransportError",
    "Unacknowledged",
    "UnsafeSettingsError",
    "app_settings",
    "batches",
    "configure",
    "consumer_of",
]
