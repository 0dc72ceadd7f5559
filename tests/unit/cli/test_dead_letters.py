"""What `soma dlq` makes of its options, and how it tells what it would do and what it did."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from builders import A_MOMENT, an_id
from dead_letters import a_dead_letter
from soma_cli.dead_letters.output_models import Count
from soma_cli.dead_letters.reports import Planned, Replay
from soma_cli.dead_letters.selection import Choice, Group, ShownStatus
from soma_cli.failures import UsageError
from soma_cli.output import Result
from soma_schemas.dead_letters import Stage
from soma_schemas.versions import Position
from soma_streams.replay.outcomes import Outcome, State
from soma_streams.replay.replaying import Replayed, Report, Stopped, Unpublished
from soma_streams.replay.stored_dead_letters import Filters, Status

OPEN = (Status.OPEN,)
A_MEMORY = UUID(int=7)


def drawn(result: Result) -> list[str]:
    console = Console(width=300)
    with console.capture() as captured:
        console.print(result.drawn())
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def filters(**choice: Any) -> Filters:
    return Choice(**choice).filters(OPEN, A_MOMENT)


def test_options_become_filters() -> None:
    assert filters(
        groups=[Group.VECTORS],
        stages=[Stage.WRITE],
        codes=["unindexable"],
        tenant="acme",
        memory=str(A_MEMORY),
    ) == Filters(
        groups=["soma-vectors"], stages=["write"], codes=["unindexable"], tenant="acme", memory_id=A_MEMORY
    )


def test_without_options_nothing_is_narrowed() -> None:
    assert not filters().narrow
    assert filters(codes=["avro"]).narrow
    assert filters().of_ids([A_MEMORY]).narrow


def test_the_key_of_an_event_names_tenant_and_memory() -> None:
    assert filters(memory=f"acme/{A_MEMORY}") == Filters(tenant="acme", memory_id=A_MEMORY)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30m", A_MOMENT - timedelta(minutes=30)),
        ("2h", A_MOMENT - timedelta(hours=2)),
        ("7d", A_MOMENT - timedelta(days=7)),
        ("2026-03-02T09:15:00+02:00", datetime(2026, 3, 2, 7, 15, tzinfo=UTC)),
    ],
)
def test_times_are_told_as_moments_or_as_how_long_ago(text: str, moment: datetime) -> None:
    assert filters(since=text).since == moment
    assert filters(until=text).until == moment


@pytest.mark.parametrize("text", ["soon", "2x", "-2h", "999999d", "2026-03-02", "20260302"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        filters(since=text)


def test_all_is_every_status() -> None:
    assert ShownStatus.ALL.statuses() == tuple(Status)
    assert ShownStatus.OPEN.statuses() == OPEN


def a_plan(**fields: Any) -> Planned:
    values: dict[str, Any] = {
        "action": "replay",
        "counts": [
            Count(
                code="avro", consumer_group="g", stage="decode", dead_letters=20, without_place=0, trimmed=0
            )
        ],
        "events": 10,
        "dead_letters": 20,
        "without_place": 0,
        "trimmed": 0,
    }
    return Planned(**(values | fields))


def test_a_plan_says_what_would_be_published_and_marked() -> None:
    assert drawn(a_plan())[-2:] == [
        "would publish 10 events again, each with its first version,",
        "and mark 20 dead letters as replayed",
    ]


def test_a_plan_says_what_cannot_be_done() -> None:
    lines = drawn(a_plan(trimmed=1, without_place=2))

    assert "would publish 9 events again, each with its first version," in lines
    assert "1 event cannot be published: the dead-letter topic no longer keeps it" in lines
    assert "2 dead letters cannot be replayed: no header says where to" in lines


def test_a_plan_knows_the_most_that_was_asked() -> None:
    assert "would publish the first 3 of 10 events again, each with its first version," in drawn(
        a_plan(most=3)
    )
    assert drawn(a_plan(most=30)) == drawn(a_plan())


def a_report(*events: Replayed, stopped: Stopped | None = None) -> Replay:
    report = Report(stopped=stopped)
    for event in events:
        report.add(event)
    return Replay.of(report, an_id())


def replayed(records: State, vectors: State, *codes: str | None) -> Replayed:
    reason, vectors_code = (*codes, None, None)[:2]
    return Replayed(
        (a_dead_letter(1),), Position(0, 9), None, Outcome(records, reason, vectors, vectors_code)
    )


def test_a_report_counts_by_what_became_of_the_events() -> None:
    report = a_report(
        replayed(State.APPLIED, State.SETTLED),
        replayed(State.SUPERSEDED, State.SETTLED, "older"),
        replayed(State.PENDING, State.PENDING),
    )

    assert drawn(report) == [
        "published 3 events again; 3 dead letters are marked as replayed",
        "PostgreSQL 1 not settled yet, 1 applied, 1 superseded",
        "vector index 1 not settled yet, 2 settled",
    ]


def test_a_report_names_what_went_wrong() -> None:
    gone = Replayed((a_dead_letter(2),), None, Unpublished.TRIMMED, None)
    again = replayed(State.APPLIED, State.DEAD_LETTERED, None, "unindexable")
    report = a_report(gone, again, stopped=Stopped.HOPELESS)

    lines = drawn(report)

    assert "1 event not published: the dead-letter topic no longer keeps the original" in lines
    assert (
        f"{str(again.dead_letters[0].id)[:8]} avro: the vector index gave it up again (unindexable)" in lines
    )
    assert "--keep-going" in lines[-1]
    assert report.dead_lettered_again == 1


def test_a_long_list_of_troubles_is_cut_for_people_and_whole_for_programs() -> None:
    report = a_report(*(replayed(State.DEAD_LETTERED, State.SETTLED, "avro") for _ in range(50)))

    assert "... and 30 more" in drawn(report)
    assert len(report.events) == 50
