"""The data of messages of the stream of changes."""

import json
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_schemas.memories import MemoryView

_A_CHANGE: JsonDict = {
    "event_type": "MemoryDeleted",
    "memory_id": "cc206232-9279-5918-a429-8f46e2db0a67",
    "namespace": "team/notes",
    "version": 1099511628818,
    "position": "3:1042",
    "event_id": "019cae6b-6600-7fa0-8f68-19c5e504777e",
    "actor": "key:fb3686b0e4e9e8ba",
    "logged_at": "2026-03-02T09:00:00Z",
    "memory": None,
}
A_STREAM = f"""\
retry: 1000

id: 0:512,3:1042

event: change
data: {json.dumps(_A_CHANGE, separators=(",", ":"))}

id: 0:512,3:1043

"""


class AppliedChangeView(BaseModel):
    """An event that was applied: the `data` of a message of the stream."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_CHANGE]})

    event_type: str = Field(description="As the log names it, e.g. `MemoryStored`.")
    memory_id: UUID = Field(description="About which memory; of a link, where it begins.")
    namespace: str | None
    version: int = Field(description="Of the memory, or of the link, from this event on.")
    position: str = Field(description="Where in the log it was applied.")
    event_id: UUID
    actor: str = Field(description="Who or what caused it.")
    logged_at: datetime = Field(description="When the log received the event.")
    memory: MemoryView | None = Field(
        description="What the memory is now, which can be newer than this change. null when it is gone, and "
        "when a later change of the same message block has it."
    )
