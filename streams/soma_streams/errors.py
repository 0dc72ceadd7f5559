"""The errors of the write side.

StreamsError
├── PoisonError          one event can never succeed; it goes to the dead-letter topic
└── SystemicError        nothing can succeed until an operator acts; the worker stops
"""

from soma_schemas.errors import SomaError


class StreamsError(SomaError):
    """Something the write side raises on purpose."""

    code = "streams"


class PoisonError(StreamsError):
    """One event can never succeed.

    Attributes:
        memory: The name of the memory whose event it is, where that is known; it spares a search.
    """

    code = "poison"
    memory: object = None


class SystemicError(StreamsError):
    """Nothing can succeed until an operator acts."""

    code = "systemic"
    remedy = "Mend the cause, then start the worker again: it goes on where it stopped."


class DeadLetterFloodError(SystemicError):
    """So many events failed that the cause is hardly the events."""

    code = "dead_letter_flood"
    remedy = (
        "Look at the newest dead letters (`soma dlq list`). If the events are to blame, raise "
        "SOMA_DELIVERY__MAX_CONSECUTIVE_DEAD_LETTERS or SOMA_DELIVERY__MAX_DEAD_LETTER_RATIO and start the "
        "worker again."
    )
