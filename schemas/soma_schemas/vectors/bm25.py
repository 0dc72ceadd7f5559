"""Keywords as sparse vectors: one encoder for documents and queries, on every engine."""

import re
import unicodedata
from functools import lru_cache
from typing import Any

from qdrant_edge import Bm25, Bm25Config, DisabledStemmer, SparseVector, StopwordsSet

from soma_schemas.languages import Language
from soma_schemas.vectors.segments import segmented_document, segmented_query

# The engine takes accents away before it looks for stop words, whose list has them.
_ACCENTED_WORD = re.compile(r"[^\W_]*[\u00c0-\u024f][^\W_]*")
_REMEMBERED_WORDS = 1 << 13


class Bm25Encoder:
    """Turns text into BM25 weights. The engine multiplies them by how rare each word is in the tenant.

    Accents do not matter, nor whether a letter is composed with its mark. Words are found in all forms that
    the language has of them, in other languages as they stand; and in scripts that put no spaces between
    words, any part of what was written together. Safe to share between threads.

    Args:
        language: Of stemming and stop words.
    """

    def __init__(self, language: Language = Language.ENGLISH) -> None:
        # Whatever changes here changes what is stored: raise INDEXING_VERSION in text.py.
        self._model = _model(**_words_of(language))
        stop_words = _model(ascii_folding=False, **_words_of(language))

        @lru_cache(_REMEMBERED_WORDS)
        def is_stop_word(word: str) -> bool:
            return not stop_words.embed_query(word).indices

        self._is_stop_word = is_stop_word

    def document(self, text: str) -> SparseVector | None:
        """Return the weights of a document, or None when it holds no word."""
        vector = self._model.embed_document(segmented_document(self._normal(text)))
        return vector if vector.indices else None

    def query(self, text: str) -> SparseVector | None:
        """Return the words of a query, or None when it holds none."""
        vector = self._model.embed_query(segmented_query(self._normal(text)))
        return vector if vector.indices else None

    def _normal(self, text: str) -> str:
        """Return a text with composed letters, and without the stop words that have accents."""
        if text.isascii():
            return text
        composed = unicodedata.normalize("NFC", text)
        return _ACCENTED_WORD.sub(lambda word: " " if self._is_stop_word(word[0]) else word[0], composed)


def _words_of(language: Language) -> dict[str, Any]:
    if language is Language.NONE:
        return {"stopwords": StopwordsSet(), "stemmer": DisabledStemmer()}
    return {"language": language.value}


def _model(*, ascii_folding: bool = True, **words: Any) -> Bm25:
    return Bm25(Bm25Config(k=1.2, b=0.75, avg_len=256.0, ascii_folding=ascii_folding, **words))
