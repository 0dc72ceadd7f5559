"""What `soma up` shows: every part, how it is, and how long it took."""

import io

import pytest
from rich.console import Console

from fakes import FakeClock
from soma_cli.local.unit import PartChange, PartState
from soma_cli.status_table import StatusTable, after


def _table(*, terminal: bool) -> tuple[StatusTable, FakeClock, io.StringIO]:
    written, clock = io.StringIO(), FakeClock()
    console = Console(file=written, force_terminal=terminal, width=100, highlight=False)
    return StatusTable(("kafka", "api"), clock, console), clock, written


def _drawn(table: StatusTable) -> str:
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as captured:
        console.print(table.drawn())
    return captured.get()


def test_without_a_terminal_each_change_is_one_plain_line() -> None:
    table, clock, written = _table(terminal=False)
    with table:
        table.observe(PartChange("kafka", PartState.STARTING))
        clock.advance(2.5)
        table.observe(PartChange("kafka", PartState.READY, "127.0.0.1:9092"))
        table.observe(PartChange("kafka", PartState.FAILED, "kafka ended by itself"))
        table.observe(PartChange("kafka", PartState.RESTARTING, "in 0.5 s, restart 1 of 5"))
        table.observe(PartChange("kafka", PartState.STARTING))
        table.observe(PartChange("kafka", PartState.READY, "127.0.0.1:9092"))

    assert written.getvalue().splitlines() == [
        "kafka: starting",
        "kafka: ready after 2.5 s 127.0.0.1:9092",
        "kafka: failed kafka ended by itself",
        "kafka: restarting in 0.5 s, restart 1 of 5",
        "kafka: starting",
        "kafka: ready after 0.0 s 127.0.0.1:9092 (started again once)",
    ]


def test_without_a_terminal_a_download_is_said_once() -> None:
    table, _, written = _table(terminal=False)
    with table:
        table.download("Kafka 4.3.1", 0, 44_000_000)
        table.download("Kafka 4.3.1", 22_000_000, 44_000_000)

    assert written.getvalue() == "downloading Kafka 4.3.1 (44 MB)\n"


def test_the_table_has_a_row_for_every_part_from_the_beginning() -> None:
    table, clock, _ = _table(terminal=True)
    table.observe(PartChange("kafka", PartState.STARTING))
    clock.advance(3.2)

    kafka, api = _drawn(table).splitlines()[1:]

    assert kafka.split() == ["kafka", "starting", "3", "s"]
    assert api.split() == ["api", "waiting"]


def test_the_table_tells_how_far_a_download_is() -> None:
    table, _, _ = _table(terminal=True)
    table.observe(PartChange("kafka", PartState.DOWNLOADING, "Kafka 4.3.1"))
    table.download("Kafka 4.3.1", 22_000_000, 44_000_000)

    assert "Kafka 4.3.1: 22 of 44 MB" in _drawn(table)


def test_the_table_remembers_that_a_part_failed_before() -> None:
    table, _, _ = _table(terminal=True)
    table.observe(PartChange("api", PartState.FAILED, "api ended by itself"))
    assert "api ended by itself" in _drawn(table)

    table.observe(PartChange("api", PartState.RESTARTING, "in 0.5 s, restart 1 of 5"))
    assert "in 0.5 s, restart 1 of 5: api ended by itself" in _drawn(table)

    table.observe(PartChange("api", PartState.READY, "http://127.0.0.1:8420"))
    assert "http://127.0.0.1:8420 (started again once)" in _drawn(table)


@pytest.mark.parametrize("begin", [PartState.DOWNLOADING, PartState.STARTING])
def test_a_start_is_measured_from_its_first_step(begin: PartState) -> None:
    row = after(None, PartChange("kafka", begin), 10.0)
    row = after(row, PartChange("kafka", PartState.STARTING), 12.0)
    row = after(row, PartChange("kafka", PartState.READY), 15.0)

    assert row.starting_since == 10.0
    assert after(row, PartChange("kafka", PartState.STARTING), 30.0).starting_since == 30.0
