"""Asks the vector worker for an audit of the stores, waits for it, and reads what became of audits."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg
from pydantic import ValidationError

from soma_schemas.clock import SystemClock
from soma_schemas.errors import SomaError
from soma_streams.audit.audited_tables import AUDIT_FAILED, AUDITED
from soma_streams.audit.requests import PROGRESS, REQUESTS, AuditProgress, AuditRequest

_REPEAT_SECONDS = 0.5
_SILENT_SECONDS = 30.0
# Looking again waits for sinks that are behind.
_BUSY_SECONDS = 180.0
_WATCH_SECONDS = 2.0

_RESULT = """
SELECT id, action, details FROM audit_log
WHERE subject = %(audit)s AND action = ANY (%(actions)s) ORDER BY id LIMIT 1
"""
_LATER = """
SELECT id, action, details FROM audit_log
WHERE id > %(after)s AND action = ANY (%(actions)s) ORDER BY id LIMIT 100
"""
_ACTIONS = [AUDITED, AUDIT_FAILED]
_LAST = "SELECT coalesce(max(id), 0) FROM audit_log"

Tell = Callable[[int, int], None]


class AuditFailedError(SomaError):
    """The stores could not be compared."""

    code = "audit_failed"
    remedy = "see `soma doctor` for what does not answer, then ask again"


class AuditResult(NamedTuple):
    """What became of an audit.

    Attributes:
        number: Rises from one to the next.
        details: What was found; None when it failed.
        reason: Why it failed.
    """

    number: int
    details: dict[str, Any] | None
    reason: str | None


def audit_stores(connection: psycopg.Connection[Any], request: AuditRequest, tell: Tell) -> dict[str, Any]:
    """Have the stores compared, and return what was found.

    Args:
        connection: As the owner of the database, in autocommit.
        request: What is wanted.
        tell: Hears how far it has come.

    Raises:
        AuditFailedError: No vector worker answers, or it could not compare them.
        psycopg.Error: The database does not answer or refuses.
    """
    clock = SystemClock()
    connection.execute(f"LISTEN {PROGRESS}")
    heard, begun = clock.monotonic(), False
    while clock.monotonic() - heard < (_BUSY_SECONDS if begun else _SILENT_SECONDS):
        # Whoever could not hear it before hears it now; of one that was heard nothing happens.
        connection.execute("SELECT pg_notify(%s, %s)", [REQUESTS, request.model_dump_json()])
        for notification in connection.notifies(timeout=_REPEAT_SECONDS):
            progress = _progress_of(notification.payload)
            if progress is None:
                continue
            heard = clock.monotonic()
            if progress.audit == request.audit:
                begun = True
                tell(progress.done, progress.total)
                if progress.ended:
                    break
        # Looked for whatever was heard: what comes while a statement runs is lost.
        if (result := _result(connection, request)) is not None:
            return result
    raise AuditFailedError(
        "the vector worker does not say how far it is" if begun else "no vector worker answers",
        remedy="see `soma doctor`; an audit is made by the vector worker: `soma up` runs one, elsewhere "
        "`soma work vectors`",
    )


def later_audits(connection: psycopg.Connection[Any]) -> Iterator[AuditResult]:
    """Yield what becomes of each audit from now on, for ever.

    Raises:
        psycopg.Error: The database does not answer or refuses.
    """
    clock = SystemClock()
    row = connection.execute(_LAST).fetchone()
    after = row[0] if row is not None else 0
    while True:
        for found in connection.execute(_LATER, {"after": after, "actions": _ACTIONS}).fetchall():
            after = found[0]
            yield _result_of(found)
        clock.block(_WATCH_SECONDS)


def _result(connection: psycopg.Connection[Any], request: AuditRequest) -> dict[str, Any] | None:
    found = connection.execute(_RESULT, {"audit": str(request.audit), "actions": _ACTIONS}).fetchone()
    if found is None:
        return None
    result = _result_of(found)
    if result.details is None:
        raise AuditFailedError(f"the stores could not be compared: {result.reason}")
    return result.details


def _result_of(row: tuple[Any, ...]) -> AuditResult:
    number, action, details = row
    if action == AUDITED:
        return AuditResult(number, details, None)
    return AuditResult(number, None, details["reason"])


def _progress_of(payload: str) -> AuditProgress | None:
    try:
        return AuditProgress.model_validate_json(payload)
    except ValidationError:
        return None
