"""What can go wrong between a text and its point, told apart by who can mend it.

SomaError
├── UnfitVectorError        this vector cannot be indexed: not finite, no direction, wrong size
├── EmbeddingRefusedError   the embedder does not take this text
├── EmbedderUnavailableError the embedder does not answer for now
├── EmbedderError           the embedder will not answer until an operator acts
├── IndexUnavailableError   the index cannot take or answer anything for now
├── SearchTooCostlyError    the index does not answer this question: it would hold up all others
├── IndexRefusedError       the index does not take this point
├── IndexServerError        the index's server will not answer until an operator acts
│   └── IndexAccessError    it and this process do not come together
├── IndexIncompleteError    the index has not yet all that it should have
└── MismatchError           the collection is not as declared (soma_schemas.errors)
"""

from soma_schemas.errors import SomaError
from soma_schemas.refusals import AccessError


class UnfitVectorError(SomaError):
    """A vector that cannot be indexed: not finite, without direction, or of the wrong size."""

    code = "unfit_vector"
    remedy = "Send finite numbers, not all zero, as many as the model has dimensions."


class EmbeddingRefusedError(SomaError):
    """The embedder does not take this text.

    Attributes:
        status_code: What it answered with.
    """

    code = "embedding_refused"
    remedy = "Shorten the text, or send an embedding along with it."

    def __init__(self, message: str, *, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


# Also a ConnectionError, as which any caller that knows nothing of embedders waits it out.
class EmbedderUnavailableError(SomaError, ConnectionError):
    """The embedder does not answer, or asks for patience.

    Attributes:
        status_code: What it answered with; None when it did not answer.
        retry_after_seconds: How long it asks to wait, when it says so.
    """

    code = "embedder_unavailable"
    remedy = "Nothing: it is tried again until it answers."

    def __init__(
        self, message: str, *, status_code: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after_seconds = retry_after_seconds


class EmbedderError(SomaError):
    """The embedder will not answer until an operator acts.

    Attributes:
        status_code: What it answered with; None when the answer itself makes no sense.
    """

    code = "embedder"
    remedy = "Check SOMA_EMBEDDER__URL, SOMA_EMBEDDER__MODEL and SOMA_EMBEDDER__API_KEY."

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class IndexUnavailableError(SomaError, ConnectionError):
    """The index cannot take or answer anything for now."""

    code = "index_unavailable"
    remedy = "Nothing: it is tried again until it answers."


class SearchTooCostlyError(SomaError):
    """The index does not answer this question: it would hold up all others for too long."""

    code = "search_too_costly"
    remedy = "Name a narrower `namespace` or `namespace_prefix`, or ask for fewer conditions at once."


class IndexRefusedError(SomaError):
    """The index does not take this point, and never will."""

    code = "index_refused"


class IndexServerError(SomaError):
    """The server of the index will not answer until an operator acts."""

    code = "index_server"


class IndexAccessError(IndexServerError, AccessError):
    """The server of the index and this process do not come together, however often it is tried."""


class IndexIncompleteError(SomaError):
    """The index has not yet all that it should have: it was lost or made anew, and is being filled."""

    code = "index_incomplete"
    remedy = "Nothing: the vector worker fills it. Until then searches miss what is not in it."
