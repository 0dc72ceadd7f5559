import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from soma_schemas.log_repeats import RepeatFilter

MOST = 10


def a_line(said: Any, seconds: float = 0.0, level: int = logging.WARNING) -> logging.LogRecord:
    line = logging.LogRecord("soma.test", level, __file__, 1, said, (), None)
    line.created = 1_700_000_000.0 + seconds
    return line


def away(failures: int, **fields: Any) -> dict[str, Any]:
    return {"event": "store_unavailable", "failures": failures, "request_id": f"a{failures}b"} | fields


def test_lines_that_differ_in_numbers_and_ids_alone_are_limited_and_counted() -> None:
    limit = RepeatFilter()

    through = [limit.filter(a_line(away(number), number)) for number in range(50)]
    later = a_line(away(50), 60.0)

    assert through == [True] * MOST + [False] * 40
    assert limit.filter(later)
    assert later.msg == {**away(50), "suppressed": 40}


def test_lines_of_libraries_are_limited_too() -> None:
    limit = RepeatFilter()

    through = [limit.filter(a_line(f"connect to 127.0.0.1:{number} failed")) for number in range(20)]
    later = a_line("connect to 127.0.0.1:9 failed", 61.0)

    assert sum(through) == MOST
    assert limit.filter(later)
    assert later.__dict__["suppressed"] == 10


def test_what_differs_in_a_word_is_of_another_kind() -> None:
    limit = RepeatFilter()
    for number in range(20):
        limit.filter(a_line(away(number)))

    assert limit.filter(a_line(away(21, attempt="read schemas")))
    assert limit.filter(a_line({**away(21), "event": "store_answers_again"}))


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_what_is_no_warning_is_never_limited(level: int) -> None:
    limit = RepeatFilter()

    assert all(limit.filter(a_line({"event": "request_served"}, level=level)) for _ in range(100))


def test_a_clock_that_goes_back_begins_anew() -> None:
    limit = RepeatFilter()
    for number in range(20):
        limit.filter(a_line(away(number)))

    assert limit.filter(a_line(away(21), -3600.0))


def test_the_kinds_that_are_remembered_are_bounded() -> None:
    limit = RepeatFilter()
    for kind in range(2000):
        limit.filter(a_line({"event": "x" * kind}))

    assert len(limit._counts) == 1000


def test_a_process_that_logs_limits_what_it_writes() -> None:
    program = (
        "import logging, structlog\n"
        "from soma_schemas.logs import configure_logging\n"
        "from soma_schemas.settings import LogSettings\n"
        "configure_logging(LogSettings())\n"
        "for number in range(100):\n"
        "    structlog.get_logger('soma').warning('store_unavailable', failures=number)\n"
        "    logging.getLogger('library').warning('away for %d s', number)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    events = [json.loads(line)["event"] for line in ended.stderr.splitlines()]
    assert events.count("store_unavailable") == MOST
    assert len(events) == 2 * MOST
