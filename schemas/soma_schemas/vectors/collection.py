"""The collection as this version declares it: its name, its vectors, what is indexed, and what it must be."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from soma_schemas.errors import MismatchError
from soma_schemas.languages import Language
from soma_schemas.vectors import payload
from soma_schemas.vectors.text import INDEXING_VERSION

REINDEX_REMEDY = "Rebuild the index with `soma reindex`."
MODEL_REMEDY = (
    "Configure the model that the index was built with as SOMA_EMBEDDER__MODEL. To change the model, "
    "configure the new one as SOMA_NEXT_EMBEDDER__MODEL beside it, and run `soma reindex`."
)
LANGUAGE_REMEDY = "To change the language, set SOMA_INDEX__LANGUAGE and run `soma reindex`."


class FieldType(StrEnum):
    """How a payload field is indexed."""

    TENANT_KEY = "tenant_key"
    WORDS = "words"
    INTEGER = "integer"
    FLOAT = "float"


# Points are found by id, so `version` is not among them. Numbers are asked by ranges alone. Times are
# integers whose bounds reach an engine as float64, which is exact until the year 2255.
PAYLOAD_INDEXES: Mapping[str, FieldType] = {
    payload.TENANT: FieldType.TENANT_KEY,
    payload.LABELS: FieldType.WORDS,
    payload.IMPORTANCE: FieldType.FLOAT,
    payload.OCCURRED_AT: FieldType.INTEGER,
    payload.CREATED_AT: FieldType.INTEGER,
    payload.UPDATED_AT: FieldType.INTEGER,
    payload.DELETED_AT: FieldType.INTEGER,
    payload.EXPIRES_AT: FieldType.INTEGER,
    payload.DIMENSIONS: FieldType.INTEGER,
    **{payload.axis_field(axis): FieldType.FLOAT for axis in range(payload.INDEXED_AXES)},
    payload.NUMBER_HIGHS: FieldType.INTEGER,
    payload.NUMBER_LOWS: FieldType.INTEGER,
}

_NOT_IN_NAMES = re.compile("[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Collection:
    """What the points of one collection have in common.

    Attributes:
        alias: The name that writers and readers use.
        model: The embedder's name.
        dimensions: Numbers in a dense vector.
        language: Of the words.
        indexing: Which version of text and BM25 made the vectors.
    """

    alias: str
    model: str
    dimensions: int
    language: Language = Language.ENGLISH
    indexing: int = INDEXING_VERSION

    def name(self, generation: int = 1) -> str:
        """Return the name behind the alias, told apart by all that is recorded, and the generation."""
        model = _NOT_IN_NAMES.sub("-", self.model).strip("-").lower()
        return f"{self.alias}--{model}-{self.dimensions}-{self.language}-i{self.indexing}-g{generation}"

    def metadata(self) -> dict[str, Any]:
        """Return what is recorded with the collection."""
        return {
            "model": self.model,
            "dimensions": self.dimensions,
            "language": self.language.value,
            "indexing": self.indexing,
        }

    @classmethod
    def recorded(cls, alias: str, metadata: Mapping[str, Any] | None) -> Self:
        """Return the collection that a store's record describes.

        Raises:
            MismatchError: There is no record, or it is not one of ours.
        """
        try:
            found = metadata or {}
            # The words of an index that does not say so are English.
            language = Language(found.get("language", Language.ENGLISH))
            model, dimensions, indexing = found["model"], found["dimensions"], found["indexing"]
            return cls(alias, str(model), int(dimensions), language, int(indexing))
        except (KeyError, TypeError, ValueError):
            raise MismatchError(
                f"collection `{alias}` does not say which model it holds vectors of", remedy=REINDEX_REMEDY
            ) from None

    def embeds_like(self, found: Self) -> bool:
        """Say whether the vectors of another collection can be compared with ours."""
        return (found.model, found.dimensions) == (self.model, self.dimensions)

    def supersedes(self, found: Self) -> bool:
        """Say whether a collection only has to be filled anew because its text was indexed by older rules."""
        return self.embeds_like(found) and found.indexing < self.indexing

    def check(self, found: Self) -> None:
        """Refuse to work on a collection whose vectors cannot be compared with ours.

        Raises:
            MismatchError: It was built with another embedder, size, indexing or language.
        """
        if not self.embeds_like(found):
            raise MismatchError(
                f"collection `{self.alias}` holds vectors of model `{found.model}` with {found.dimensions} "
                f"dimensions, this process embeds with `{self.model}` and {self.dimensions}",
                remedy=MODEL_REMEDY,
            )
        if found.indexing != self.indexing:
            raise MismatchError(
                f"collection `{self.alias}` was indexed by version {found.indexing} of the text, "
                f"this process has version {self.indexing}",
                remedy="Run the version that it was indexed by, or rebuild the index for this one with "
                "`soma reindex`.",
            )
        if found.language is not self.language:
            raise MismatchError(
                f"collection `{self.alias}` has words of language `{found.language}`, this process looks for "
                f"those of `{self.language}`",
                remedy=LANGUAGE_REMEDY,
            )
