"""Namespaces and counts as the API answers them."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

_STATS: JsonDict = {
    "memories": 42,
    "memories_by_kind": {"EPISODIC": 30, "SEMANTIC": 12},
    "namespaces": 3,
    "links": 7,
    "dead_letters": 0,
    "staleness_seconds": {"soma-postgres": 0.112, "soma-vectors": 0.115},
}


class NamespaceNode(BaseModel):
    """A namespace, and how many memories it holds with all below it."""

    namespace: str
    memories: int


class NamespaceTree(BaseModel):
    """Namespaces that hold memories, parents before children."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "namespaces": [
                        {"namespace": "assistant", "memories": 42},
                        {"namespace": "assistant/ada", "memories": 40},
                    ],
                    "truncated": False,
                }
            ]
        }
    )

    namespaces: list[NamespaceNode]
    truncated: bool = Field(description="There are more; use a prefix or a lower depth.")


class StatsView(BaseModel):
    """How much there is, as far as the key sees it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STATS]})

    memories: int
    memories_by_kind: dict[str, int]
    namespaces: int
    links: int | None = Field(description="null for a key that covers only some namespaces.")
    dead_letters: int | None = Field(description="Open ones; null likewise.")
    staleness_seconds: dict[str, float | None] = Field(
        description="Maximum age of the data, by sink; null if unknown."
    )
