"""Keywords as sparse vectors: one encoder for documents and queries, on every engine."""

from qdrant_edge import Bm25, Bm25Config, SparseVector

from soma_schemas.vectors.segments import segmented_document, segmented_query


class Bm25Encoder:
    """Turns text into BM25 weights. The engine multiplies them by how rare each word is in the tenant.

    Accents do not matter. Stemming and stop words are English; in other languages whole words match, and in
    scripts that put no spaces between words any part of what was written together.
    Safe to share between threads.
    """

    def __init__(self) -> None:
        # Whatever changes here changes what is stored: raise INDEXING_VERSION in text.py.
        self._model = Bm25(Bm25Config(k=1.2, b=0.75, avg_len=256.0, language="english", ascii_folding=True))

    def document(self, text: str) -> SparseVector | None:
        """Return the weights of a document, or None when it holds no word."""
        vector = self._model.embed_document(segmented_document(text))
        return vector if vector.indices else None

    def query(self, text: str) -> SparseVector | None:
        """Return the words of a query, or None when it holds none."""
        vector = self._model.embed_query(segmented_query(text))
        return vector if vector.indices else None
