"""Pages of memories as the API answers them."""

from pydantic import BaseModel, Field

from soma_schemas.memories import MemoryView


class MemoryPage(BaseModel):
    """Some memories, and where the list goes on."""

    memories: list[MemoryView]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null at the end.")
