"""An embedder whose calls are timed."""

from collections.abc import Sequence
from enum import StrEnum

from soma_schemas.clock import Clock
from soma_schemas.metrics import Catalogue, MetricSet
from soma_schemas.vectors.embedders import Embedder


class EmbeddingUse(StrEnum):
    """What texts are embedded for."""

    POINTS = "points"
    QUERIES = "queries"


EMBEDDING_METRICS = Catalogue()
EMBEDDING_SECONDS = EMBEDDING_METRICS.histogram(
    "soma_embedding_seconds",
    "Time of one call of the embedder: for some points, or for one query.",
    labels={"use": EmbeddingUse},
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
)


class MeasuredEmbedder:
    """Embeds with another embedder, and tells how long it takes; an `Embedder`.

    Args:
        embedder: Does the work.
        metrics: Of the process.
        clock: Measures.
    """

    def __init__(self, embedder: Embedder, metrics: MetricSet, clock: Clock) -> None:
        self._embedder = embedder
        self._clock = clock
        seconds = metrics.histogram(EMBEDDING_SECONDS)
        self._points = seconds.labels(EmbeddingUse.POINTS)
        self._queries = seconds.labels(EmbeddingUse.QUERIES)

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self._embedder.name

    @property
    def dimensions(self) -> int:
        """Return how many numbers a vector has."""
        return self._embedder.dimensions

    @property
    def in_process(self) -> bool:
        """Say whether an event loop may wait for a query."""
        return self._embedder.in_process

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector per text, in order; errors as of the embedder."""
        began = self._clock.monotonic()
        try:
            return self._embedder.embed_documents(texts)
        finally:
            self._points.observe(self._clock.monotonic() - began)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question; errors as of the embedder."""
        began = self._clock.monotonic()
        try:
            return self._embedder.embed_query(text)
        finally:
            self._queries.observe(self._clock.monotonic() - began)

    def close(self) -> None:
        """Give back what it holds."""
        self._embedder.close()
