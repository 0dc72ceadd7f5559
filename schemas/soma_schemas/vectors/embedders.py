"""What turns text into dense vectors: the protocol, the packaged model, and the choice by settings."""

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from soma_schemas import packaged_models
from soma_schemas.errors import ConfigurationError
from soma_schemas.settings import EmbedderKind, EmbedderSettings

PACKAGED_MODEL = packaged_models.WORDLLAMA
PACKAGED_DIMENSIONS = packaged_models.DIMENSIONS[PACKAGED_MODEL]

Vector = NDArray[np.float32]

# How the packaged model's tokenizer spells a space, which it also puts before every text.
_SPACE = "\u2581"
# 256 float32 each: 16 MiB.
_REMEMBERED_WORDS = 1 << 14
# Of one text; all of them are remembered at once.
_MOST_WORDS = 1 << 10
_LONGEST_WORD = 64
# Of 256 float32 each: 4 MiB at a time.
_TOKENS_PER_PORTION = 4096


class Embedder(Protocol):
    """Turns text into dense vectors. Every method may be called from several threads at once."""

    @property
    def name(self) -> str:
        """Return the model's name: it is recorded with the collection."""
        ...

    @property
    def dimensions(self) -> int:
        """Return how many numbers a vector has."""
        ...

    @property
    def in_process(self) -> bool:
        """Say whether a query is embedded so fast that an event loop may wait for it."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector per text, in order; all zeros where a text says nothing to the model.

        Raises:
            EmbeddingRefusedError: One of the texts can never be embedded.
            EmbedderUnavailableError: Later it can.
            EmbedderError: Not before an operator has acted.
            MismatchError: The model's vectors are not of the size that was declared.
        """
        ...

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question; errors as for documents."""
        ...

    def close(self) -> None:
        """Give back what it holds; it is not asked again."""
        ...


class PackagedEmbedder:
    """The model that is always there: offline, on the CPU, loaded in half a second.

    A word has the same vector whatever stands beside it.
    """

    name = PACKAGED_MODEL
    dimensions = PACKAGED_DIMENSIONS
    in_process = True

    def __init__(self) -> None:
        package = find_spec("wordllama")
        if package is None or package.origin is None:
            raise ConfigurationError(
                "the packaged embedder is not installed",
                remedy="Install `somafractalmemory[streams]` or `somafractalmemory[api]`.",
            )
        with _root_logger_kept():
            # Slow to import, and not needed where an endpoint embeds.
            from wordllama import WordLlama  # type: ignore[import-untyped]  # noqa: PLC0415  # it has no types

            model = WordLlama.load(
                dim=PACKAGED_DIMENSIONS, cache_dir=Path(package.origin).parent, disable_download=True
            )
        self._tokenizer = model.tokenizer
        self._by_words = _parted_by_spaces(self._tokenizer.get_vocab())
        self._table = model.embedding
        self._sums = np.empty((_REMEMBERED_WORDS, PACKAGED_DIMENSIONS), dtype=np.float32)
        self._rows: dict[str, int] = {}
        self._turn = threading.Lock()

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector of length one per text, in order; all zeros for a text without tokens.

        The model's own method gives the same numbers in more than six times the time: it pads every text to
        the longest of its group, and looks every word up anew.
        """
        rows = np.empty((len(texts), PACKAGED_DIMENSIONS), dtype=np.float32)
        with self._turn:
            for place, text in enumerate(texts):
                rows[place] = self._sum(text)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        lengths[lengths == 0.0] = 1.0
        vectors: list[list[float]] = (rows / lengths).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question: this model makes no difference between question and document."""
        return self.embed_documents([text])[0]

    def close(self) -> None:
        """Nothing to give back."""

    def _sum(self, text: str) -> Vector:
        """Return the sum of a text's tokens. A mean points the same way, and only the direction stays."""
        words = self._words(text)
        if words is None:
            return self._sum_of_tokens(text)
        if len(self._rows) > _REMEMBERED_WORDS - _MOST_WORDS:
            self._rows.clear()
        for word in set(words).difference(self._rows):
            self._sums[len(self._rows)] = self._sum_of_tokens(word)
            self._rows[word] = len(self._rows)
        total: Vector = self._sums.take([self._rows[word] for word in words], axis=0).sum(axis=0)
        return total

    def _words(self, text: str) -> list[str] | None:
        """Return the words of a text that has the tokens of its words, or None when they cannot be told."""
        words = text.split(" ")
        # Only single spaces between other characters part words that stand alone.
        if not self._by_words or not all(words) or _SPACE in text:
            return None
        return words if len(words) <= _MOST_WORDS and max(map(len, words)) <= _LONGEST_WORD else None

    def _sum_of_tokens(self, text: str) -> Vector:
        tokens = self._tokens(text)
        total = np.zeros(PACKAGED_DIMENSIONS, dtype=np.float32)
        for start in range(0, len(tokens), _TOKENS_PER_PORTION):
            total += self._table.take(tokens[start : start + _TOKENS_PER_PORTION], axis=0).sum(axis=0)
        return total

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return tokens


def open_embedder(settings: EmbedderSettings) -> Embedder:
    """Return the embedder that the settings name.

    Raises:
        ConfigurationError: It is not installed, or the settings name a packaged model that there is not.
    """
    match settings.kind:
        case EmbedderKind.PACKAGED:
            return _open_packaged(settings)
        case EmbedderKind.ENDPOINT:
            from soma_schemas.vectors.endpoint import EndpointEmbedder  # noqa: PLC0415  # needs this module

            return EndpointEmbedder(settings)


def _open_packaged(settings: EmbedderSettings) -> Embedder:
    dimensions = packaged_models.DIMENSIONS.get(settings.model)
    if dimensions is None:
        names = " and ".join(f"`{name}`" for name in packaged_models.DIMENSIONS)
        raise ConfigurationError(
            f"there is no packaged embedder `{settings.model}`: there are {names}",
            remedy="Name one of them as SOMA_EMBEDDER__MODEL, or set SOMA_EMBEDDER__KIND=endpoint and a URL.",
        )
    if settings.dimensions != dimensions:
        raise ConfigurationError(
            f"the packaged embedder `{settings.model}` has {dimensions} dimensions, the settings say "
            f"{settings.dimensions}",
            remedy="Leave out SOMA_EMBEDDER__DIMENSIONS.",
        )
    if settings.model == packaged_models.MINILM:
        from soma_schemas.vectors.minilm import MiniLmEmbedder  # noqa: PLC0415  # an extra

        return MiniLmEmbedder()
    return PackagedEmbedder()


def _parted_by_spaces(vocabulary: Iterable[str]) -> bool:
    """Say whether no token reaches from one word into the next, so that words can be tokenized one by one."""
    return not any(_SPACE in token.lstrip(_SPACE) for token in vocabulary)


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Undo what the import of wordllama does to logging: it calls `logging.basicConfig`."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
