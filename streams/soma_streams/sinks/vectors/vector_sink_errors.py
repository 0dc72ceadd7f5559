"""Why an event can never become a point, and why a worker cannot go on with its index.

PoisonError
├── EmbeddingDimensionsError its own embedding is not of the size of its model
├── UnembeddableError        the embedder does not take its text
└── UnindexableError         its vector or its point cannot be kept
SystemicError
├── IndexLostError           the index is not the one that the worker began on
└── LogShorterError          a store stands beyond the end of the log
"""

from soma_streams.errors import PoisonError, SystemicError


class EmbeddingDimensionsError(PoisonError):
    """The event's own embedding says it is of the collection's model, but has another size."""

    code = "embedding_dimensions"
    remedy = "Send an embedding of the model's size, or none."


class UnembeddableError(PoisonError):
    """The embedder does not take the text."""

    code = "embedding_refused"


class UnindexableError(PoisonError):
    """The vector or the point cannot be kept."""

    code = "unindexable"


class IndexLostError(SystemicError):
    """The index is not the one that this worker began on: it was lost, or made anew by somebody else."""

    code = "index_lost"
    remedy = "Start the worker again, unless its supervisor does: it fills the index with what is missing."


class LogShorterError(SystemicError):
    """A store stands beyond the end of the log, so that new events would count as old ones."""

    code = "log_shorter"
    remedy = (
        "The log lost its end, or the topic was made anew: raise SOMA_TOPICS__EPOCH by one for every "
        "process, so that new events count as newer than all before."
    )
