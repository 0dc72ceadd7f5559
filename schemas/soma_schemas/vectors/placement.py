"""How a collection lies on the nodes of a Qdrant cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from soma_schemas.settings import VectorSettings


@dataclass(frozen=True, slots=True)
class Placement:
    """How a new collection is divided and copied. What is None, the server decides.

    Attributes:
        shards: Parts of the collection.
        replicas: Copies of each.
        write_consistency: Copies that must have a write before it counts.
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None

    @classmethod
    def of(cls, settings: VectorSettings) -> Self:
        """Return what the settings say."""
        return cls(settings.shards, settings.replicas, settings.write_consistency)

    def differences(self, found: Self) -> Sequence[str]:
        """Return, for people, where a collection that is there differs from what is set."""
        parts = (
            ("SHARDS", self.shards, found.shards),
            ("REPLICAS", self.replicas, found.replicas),
            ("WRITE_CONSISTENCY", self.write_consistency, found.write_consistency),
        )
        return [
            f"SOMA_VECTORS__{name} is {wanted}, the collection has {there}"
            for name, wanted, there in parts
            if wanted is not None and wanted != there
        ]
