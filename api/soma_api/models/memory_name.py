"""The query parameters that name one memory by its key or its coordinate."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from soma_api.models.memory_filter import Asked
from soma_api.models.query_parameters import Numbers, held_to_limits, numbers_of
from soma_api.models.requests import MemoryState, StoreMemory
from soma_schemas.fields import Key, Namespace, broken
from soma_schemas.limits import Limits
from soma_schemas.violations import ViolationCode

_KEY = TypeAdapter[str | None](Key | None)


class MemoryName(BaseModel):
    """What names a memory: a namespace, and in it a key or a coordinate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: Namespace = Field(description="Namespace of the memory.", examples=["assistant/ada"])
    key: Asked | None = Field(
        None, description="Key of the memory, unless it has a coordinate.", examples=["preferences/tea"]
    )
    coordinate: Numbers | None = Field(
        None, description="Coordinate of the memory, as `1,2.5`, unless it has a key."
    )

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if self.key is not None and self.coordinate is not None:
            raise broken(ViolationCode.KEY_AND_COORDINATE, "a memory has a key or a coordinate, not both")
        if self.key is None and self.coordinate is None:
            raise broken(ViolationCode.MISSING_FIELD, "names no memory: give a `key` or a `coordinate`")
        return self

    def of(self, state: MemoryState, limits: Limits) -> StoreMemory:
        """Return the memory that has this name and this state.

        Raises:
            InvalidInputError: The key or the coordinate breaks the contract under these limits.
        """
        return StoreMemory.model_construct(
            namespace=self.namespace,
            key=held_to_limits(_KEY, "key", self.key, limits),
            coordinate=numbers_of("coordinate", self.coordinate, limits),
            **dict(state),
        )
