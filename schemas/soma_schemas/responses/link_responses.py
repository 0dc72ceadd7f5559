"""Links, and what is walked along them, as the API answers them."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_schemas.memories import A_MEMORY, MemoryView

_A_LINK: JsonDict = {
    "from_memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
    "to_memory_id": "0f5b2c1e-8a49-5d7f-9c3a-7e1d2b4c6a80",
    "type": "about",
    "weight": 0.8,
}
_LINKED: JsonDict = A_MEMORY | {
    "memory_id": "0f5b2c1e-8a49-5d7f-9c3a-7e1d2b4c6a80",
    "key": "people/ada",
    "text": "Ada works in the garden office.",
    "tags": ["person"],
}


class LinkView(BaseModel):
    """An edge between two memories."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_LINK]})

    from_memory_id: UUID
    to_memory_id: UUID
    type: str
    weight: float


class LinkPage(BaseModel):
    """Some links, and where the list goes on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"links": [_A_LINK], "next_cursor": None}]})

    links: list[LinkView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")


class NeighborView(BaseModel):
    """A memory near another, and how it was reached."""

    depth: int = Field(description="How many links away it is.")
    way: list[LinkView] = Field(description="The links that lead there, the first one first.")
    memory: MemoryView


class NeighborsView(BaseModel):
    """Memories near another, the nearest first; of equally near ones that with the heavier link."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"neighbors": [{"depth": 1, "way": [_A_LINK], "memory": _LINKED}], "truncated": False}
            ]
        }
    )

    neighbors: list[NeighborView]
    truncated: bool = Field(description="There may be more than these.")


class PathView(BaseModel):
    """The shortest way between two memories."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"cost": 1.0, "links": [_A_LINK], "memories": [A_MEMORY, _LINKED]}]}
    )

    cost: float = Field(description="The sum over its links.")
    links: list[LinkView] = Field(description="In the order in which they are walked.")
    memories: list[MemoryView] = Field(description="Those that it passes, from one end to the other.")
