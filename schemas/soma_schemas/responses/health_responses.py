"""How the API and the parts behind it are, as it answers."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

A_COMPLETE_INDEX: JsonDict = {"complete": True, "filled": 1.0}
_READY_PART: JsonDict = {"ready": True, "milliseconds": 1.4, "error": None}
_ABSENT_PART: JsonDict = {"ready": False, "milliseconds": 2000.0, "error": "OperationalError"}
_READY_PARTS: JsonDict = dict.fromkeys(("postgres", "vectors", "kafka", "registry"), _READY_PART)
_READY: JsonDict = {"status": "ready", "parts": _READY_PARTS, "index": A_COMPLETE_INDEX}
NOT_READY: JsonDict = {
    "status": "not_ready",
    "parts": _READY_PARTS | {"postgres": _ABSENT_PART},
    "index": A_COMPLETE_INDEX,
}


class IndexView(BaseModel):
    """How complete the vector index is. It is incomplete while it is being rebuilt."""

    complete: bool = Field(
        description="Whether it contains every settled event. While it does not, searches miss "
        "memories, and their staleness is unknown."
    )
    filled: float | None = Field(
        description="The share of events that it contains, from 0 to 1; null if unknown."
    )


class Alive(BaseModel):
    """The process serves."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "alive"}]})

    status: str = Field(description="`alive`.")


class PartView(BaseModel):
    """How one part behind the API answered."""

    ready: bool
    milliseconds: float
    error: str | None = Field(
        description="The code of the failure: of ours, `http_...`, `sqlstate_...`, or else its class."
    )


class Readiness(BaseModel):
    """Whether the API can answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [_READY]})

    status: str = Field(
        description="`ready`; `degraded`: only searches (vectors) or only writes (kafka, registry) fail; "
        "`not_ready`: nothing works, because keys cannot be checked."
    )
    parts: dict[str, PartView]
    index: IndexView | None = Field(
        description="How complete the vector index is; null when it does not answer. While it is not "
        "complete, part `vectors` fails with `index_incomplete`."
    )
