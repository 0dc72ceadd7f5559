"""The words on lag that the collector, the API and the command line share."""

from enum import StrEnum


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
        return list(LagStatus).index(self)

    @property
    def failing(self) -> bool:
        """Whether somebody has to look."""
        return self in {LagStatus.STALL, LagStatus.STOP, LagStatus.REWIND}
