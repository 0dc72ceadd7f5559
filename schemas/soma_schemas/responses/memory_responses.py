"""Pages of memories as the API answers them."""

from pydantic import BaseModel, ConfigDict, Field

from soma_schemas.memories import A_MEMORY, MemoryView


class MemoryPage(BaseModel):
    """Some memories, and where the list goes on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"memories": [A_MEMORY], "next_cursor": None}]})

    memories: list[MemoryView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")
