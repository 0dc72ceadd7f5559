"""What whoever wants an audit and whoever makes it say to each other, over PostgreSQL's notifications.

Nobody can look into an embedded index but the process that has it open, so an audit is made by the vector
worker, on either engine, and asked for from anywhere. A request that nobody hears is gone: whoever asks
repeats it until somebody answers.
"""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

REQUESTS = "soma_audit_requests"
PROGRESS = "soma_audit_progress"


class AuditRequest(BaseModel):
    """Somebody wants an audit.

    Attributes:
        audit: Names it.
        mends: Whether to mend what is found.
        since: Leave out what the log received before; None for all that it has.
    """

    model_config = ConfigDict(frozen=True)

    audit: UUID
    mends: bool
    since: datetime | None = None


class AuditProgress(BaseModel):
    """How far an audit has come.

    Attributes:
        done: Records, rows and points that were looked at.
        total: About how many there are.
        ended: Whether its result is in the audit log.
    """

    model_config = ConfigDict(frozen=True)

    audit: UUID
    done: int
    total: int
    ended: bool = False
