"""What is told about lag, and the words for it: shared by the collector, the API and the command line."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_schemas.settings import SettingsGroup, WebAddress

REPORT_PATH = "/v1/lag"


class CollectorPlace(SettingsGroup):
    """Where the lag collector answers."""

    url: WebAddress | None = Field(
        None, description="Base URL of `soma lag collect`. Unset: there is none to be asked."
    )


class LagStatus(StrEnum):
    """Whether a group gets on in a partition; the later, the worse."""

    OK = "OK"
    UNKNOWN = "UNKNOWN"
    WARN = "WARN"
    STALL = "STALL"
    STOP = "STOP"
    REWIND = "REWIND"

    @property
    def severity(self) -> int:
        """Its place among all, from 0."""
        return _SEVERITY[self]

    @property
    def failing(self) -> bool:
        """Whether somebody has to look."""
        return self in {LagStatus.STALL, LagStatus.STOP, LagStatus.REWIND}


_SEVERITY = {status: place for place, status in enumerate(LagStatus)}


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class Lag(_Told):
    """How far somebody is behind. What is null, nobody knows."""

    status: LagStatus
    reason: str = Field(description="Why it has this status, in words.")
    lag_records: int | None = Field(description="Offsets that are still to be read.")
    lag_seconds: float | None = Field(description="Age of the oldest record that is still to be read.")
    headroom_records: int | None = Field(
        description="Offsets that retention can delete before it comes to what was not read."
    )
    headroom_seconds: float | None = Field(
        description="Time until retention may delete what was not read; null also where it deletes nothing."
    )
    catch_up_seconds: float | None = Field(
        description="Time until everything is read, at the pace of late; null where it never is."
    )


class PartitionLag(Lag):
    """How far a group is behind in one partition."""

    topic: str
    partition: int
    committed: int | None = Field(description="The next offset that the group will read.")
    start: int | None = Field(description="The first offset that the log still has.")
    end: int | None = Field(description="The next offset that the log will have.")
    member: str | None = Field(description="The id of the member that has the partition.")


class GroupMember(_Told):
    """One consumer of a group."""

    id: str
    client_id: str
    host: str
    partitions: int = Field(description="How many it has to read.")


class LagPoint(_Told):
    """How far a group was behind at a time."""

    at: datetime
    lag_records: int
    lag_seconds: float | None


class GroupLag(Lag):
    """How far a group is behind: its worst partition's status, all its records, its oldest one's age."""

    group: str
    state: str = Field(description="As Kafka calls it.")
    members: tuple[GroupMember, ...]
    partitions: tuple[PartitionLag, ...]
    history: tuple[LagPoint, ...] = Field(description="The last minutes, oldest first.")


_A_LAG: JsonDict = {
    "status": "OK",
    "reason": "keeps up",
    "lag_records": 3,
    "lag_seconds": 0.04,
    "headroom_records": 1042,
    "headroom_seconds": 2505600.0,
    "catch_up_seconds": 0.2,
}
_A_REPORT: JsonDict = {
    "at": "2026-03-02T09:00:00Z",
    "age_seconds": 2.1,
    "failure": None,
    "groups": [
        {
            **_A_LAG,
            "group": "soma-postgres",
            "state": "Stable",
            "members": [
                {"id": "soma-postgres-1", "client_id": "soma-postgres", "host": "/10.0.0.7", "partitions": 1}
            ],
            "partitions": [
                {
                    **_A_LAG,
                    "topic": "memory.events",
                    "partition": 3,
                    "committed": 1042,
                    "start": 0,
                    "end": 1045,
                    "member": "soma-postgres-1",
                }
            ],
            "history": [{"at": "2026-03-02T08:59:45Z", "lag_records": 0, "lag_seconds": 0.0}],
        }
    ],
}


class LagReport(_Told):
    """What one round over all groups has found."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_A_REPORT]})

    at: datetime | None = Field(description="When the last round that succeeded was; null before the first.")
    age_seconds: float | None = Field(description="How long ago that is.")
    failure: str | None = Field(description="Why the newest round failed; null when it did not.")
    groups: tuple[GroupLag, ...]
