"""What turns text into dense vectors: the protocol, the packaged model, and the choice by settings."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from soma_schemas.errors import ConfigurationError
from soma_schemas.settings import EmbedderKind, EmbedderSettings

PACKAGED_MODEL = "wordllama-256"
PACKAGED_DIMENSIONS = 256

# The model pads every text of a group to the longest: 32k tokens of 256 float32 are 32 MiB at most.
_GROUP_CHARACTERS = 32 * 1024


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
    """The model that comes with the package: offline, on the CPU, loaded in half a second."""

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

            self._model = WordLlama.load(
                dim=PACKAGED_DIMENSIONS, cache_dir=Path(package.origin).parent, disable_download=True
            )

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector of length one per text, in order; all zeros for a text without tokens."""
        vectors: list[list[float]] = [[]] * len(texts)
        for group in _groups([len(text) for text in texts]):
            # Normalized by hand: the model's own `norm` divides by zero for a text without tokens.
            rows = self._model.embed([texts[place] for place in group], batch_size=len(group))
            lengths = (rows * rows).sum(axis=1, keepdims=True) ** 0.5
            lengths[lengths == 0.0] = 1.0
            for place, row in zip(group, (rows / lengths).tolist(), strict=True):
                vectors[place] = row
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question: this model makes no difference between question and document."""
        return self.embed_documents([text])[0]

    def close(self) -> None:
        """Nothing to give back."""


def open_embedder(settings: EmbedderSettings) -> Embedder:
    """Return the embedder that the settings name.

    Raises:
        ConfigurationError: It is not installed, or the settings name another model than the packaged one.
    """
    match settings.kind:
        case EmbedderKind.PACKAGED:
            if (settings.model, settings.dimensions) != (PACKAGED_MODEL, PACKAGED_DIMENSIONS):
                raise ConfigurationError(
                    f"the packaged embedder is `{PACKAGED_MODEL}` with {PACKAGED_DIMENSIONS} dimensions, "
                    f"the settings say `{settings.model}` with {settings.dimensions}",
                    remedy="Leave out SOMA_EMBEDDER__MODEL and SOMA_EMBEDDER__DIMENSIONS, or set "
                    "SOMA_EMBEDDER__KIND=endpoint and its URL.",
                )
            return PackagedEmbedder()
        case EmbedderKind.ENDPOINT:
            from soma_schemas.vectors.endpoint import EndpointEmbedder  # noqa: PLC0415  # needs this module

            return EndpointEmbedder(settings)


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Return the places of texts, shortest first, in groups that are bounded when padded to the longest."""
    group: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and lengths[place] * (len(group) + 1) > _GROUP_CHARACTERS:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


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
