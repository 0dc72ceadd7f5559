"""Limits lines of the log that repeat: an outage, or a flood of records, must not bury everything else."""

import logging
import re
from dataclasses import dataclass
from typing import Any

# So many of a kind in so many seconds; after that they are counted.
_MOST = 10
_SECONDS = 60.0
_KINDS = 1000
_NUMBERS = re.compile(r"\d+")
# What tells repeated lines apart, and says nothing of their kind.
_OWN = frozenset({"request_id", "trace_id", "span_id", "timestamp"})


@dataclass(slots=True)
class _Count:
    since: float
    lines: int = 1


class RepeatFilter(logging.Filter):
    """Lets through ten warnings or errors of a kind in a minute; the next one says how many were held back.

    Of a kind are lines of one logger that differ in nothing but numbers and ids. Time is that of the records.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[tuple[str, str], _Count] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line is written."""
        if record.levelno < logging.WARNING:
            return True
        kind = record.name, _NUMBERS.sub("0", _said(record))
        count = self._counts.get(kind)
        if count is not None and 0 <= record.created - count.since < _SECONDS:
            count.lines += 1
            return count.lines <= _MOST
        if count is not None and count.lines > _MOST:
            _tell(record, count.lines - _MOST)
        if count is None and len(self._counts) >= _KINDS:
            self._counts.pop(next(iter(self._counts)))
        self._counts[kind] = _Count(record.created)
        return True


def _said(record: logging.LogRecord) -> str:
    line: Any = record.msg
    if not isinstance(line, dict):
        return record.getMessage()
    return str(sorted((name, str(value)) for name, value in line.items() if name not in _OWN))


def _tell(record: logging.LogRecord, suppressed: int) -> None:
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, "suppressed": suppressed}
    else:
        record.suppressed = suppressed
