"""Why an event can never become a point.

PoisonError
├── EmbeddingDimensionsError its own embedding is not of the size of its model
├── UnembeddableError        the embedder does not take its text
└── UnindexableError         its vector or its point cannot be kept
"""

from soma_streams.errors import PoisonError


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
