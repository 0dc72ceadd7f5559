"""`soma verify`: compare what is kept twice."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import Annotated, Any
from uuid import uuid4

import psycopg
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.count_verification import count_differences, rebuild_counts
from soma_cli.database_errors import told_in_words
from soma_cli.failures import FindingsError, UsageError
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, progress, say, show
from soma_cli.parsing import moment_or_ago
from soma_cli.settings import operator_settings
from soma_cli.store_audits import audit_stores, later_audits
from soma_schemas.clock import SystemClock
from soma_streams.audit.drift import NOT_DRIFT, Drift
from soma_streams.audit.requests import AuditRequest

app = typer.Typer(add_completion=False)

_BAR_AFTER_SECONDS = 2.0

_MEANINGS = {
    Drift.EVENT_LOST: "events of the log of which no history says what became of them",
    Drift.ROW_MISSING: "memories without a row, although an event was applied to them",
    Drift.ROW_STALE: "rows older than the last event that was applied",
    Drift.POINT_MISSING: "rows without a point in the index",
    Drift.POINT_STALE: "points older than their rows",
    Drift.POINT_AHEAD: "points newer than their rows, or whose rows are gone",
    Drift.POINT_EXTRA: "points of memories that are deleted, or that nothing knows of",
    Drift.POINT_UNEMBEDDED: "points without vectors",
    Drift.POINT_WRONG: "points that say something else than their rows",
    Drift.OVERDUE: "memories that are there long after their deadline; the sweeper's business",
}


class Part(StrEnum):
    """What is compared."""

    ALL = "all"
    COUNTS = "counts"
    STORES = "stores"


class WrongCount(Result):
    """A count beside the number of rows; namespace and kind are null for links and dead letters."""

    tenant: str
    counted: str
    namespace: str | None
    kind: str | None
    kept: int
    found: int

    def __str__(self) -> str:
        """Return it as a line."""
        where = f" in {self.namespace}, {self.kind}" if self.namespace is not None else ""
        return f"{self.counted} of {self.tenant}{where}: {self.kept} counted, {self.found} there"


class Example(Result):
    """Where something was found; what does not apply is null."""

    tenant: str | None = None
    memory_id: str | None = None
    position: str | None = None
    point: str | None = None

    def __str__(self) -> str:
        """Return it as a few words."""
        memory = f"{self.tenant}/{self.memory_id}" if self.memory_id is not None else None
        position = f"position {self.position}" if self.position is not None else None
        point = f"point {self.point}" if self.point is not None else None
        return ", ".join(each for each in (position, memory, point) if each is not None)


class Finding(Result):
    """What was found of one kind, and how much of it was mended; of many the first examples."""

    found: int
    mended: int
    examples: list[Example]


class Stores(Result):
    """What an audit saw.

    Attributes:
        events: Records of the log that were looked at.
        memories: Rows that were looked at, tombstones included.
        points: Points that were looked at, tombstones included.
        dead_lettered: Points that differ from their rows because an event is a dead letter of one sink alone.
        undecided: Differences that may be lag, because a sink did not get on meanwhile.
        findings: By kind.
        mends: Whether it was to mend what it found.
        seconds: How long it took.
    """

    events: int
    memories: int
    points: int
    dead_lettered: int
    undecided: int
    findings: dict[Drift, Finding]
    mends: bool
    seconds: float

    @property
    def left(self) -> int:
        """Differences between stores that are still there."""
        return sum(each.found - each.mended for kind, each in self.findings.items() if kind not in NOT_DRIFT)

    def drawn(self) -> RenderableType:
        """Return a table of what was found, and a line about what was looked at."""
        looked = Text(
            f"{self.events:,} events, {self.memories:,} rows and {self.points:,} points were compared in "
            f"{self.seconds:.1f} s"
        )
        notes = []
        if self.dead_lettered:
            notes.append(f"{self.dead_lettered:,} points differ because of dead letters: `soma dlq list`")
        if self.undecided:
            notes.append(f"{self.undecided:,} differences may be lag: `soma lag`")
        if not self.findings:
            notes.insert(0, "the stores agree")
            return Group(looked, *map(Text, notes))
        table = Table(box=None, pad_edge=False)
        table.add_column("found", justify="right")
        table.add_column("mended", justify="right")
        table.add_column("kind")
        table.add_column("what, and the first of it", overflow="fold")
        for kind, each in ((kind, self.findings[kind]) for kind in Drift if kind in self.findings):
            examples = "".join(f"\n  {example}" for example in each.examples[:3])
            table.add_row(f"{each.found:,}", f"{each.mended:,}", kind, f"{_MEANINGS[kind]}{examples}")
        return Group(looked, table, *map(Text, notes))


class Verified(Result):
    """What was compared, and where it differs.

    Attributes:
        counts: Counts of memories, links and open dead letters beside the rows; null where not compared.
        repaired: Whether what differed was to be mended.
        stores: What the audit of log, tables and index saw; null where not compared.
    """

    counts: list[WrongCount] | None
    repaired: bool
    stores: Stores | None

    def drawn(self) -> RenderableType:
        """Return a line for each count that differs, and what the audit saw."""
        parts: list[RenderableType] = []
        if self.counts is not None:
            lines = [str(each) for each in self.counts] or ["the counts are those of the rows"]
            anew = self.repaired and self.counts
            parts.append(Text("\n".join([*lines, "the counts were made anew"] if anew else lines)))
        if self.stores is not None:
            parts.append(self.stores.drawn())
        return Group(*parts)


@app.command()
def verify(
    context: typer.Context,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what differs.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            help="Of the log compare only what it received since: a time, or so long ago, such as `2h`. "
            "Default: everything that it still has.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    only: Annotated[Part, typer.Option(help="What to compare. `counts` needs no vector worker.")] = Part.ALL,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Ask for nothing: show what each of the audits finds that are made in the background, until "
            "Ctrl-C.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the log, PostgreSQL and the vector index, and the counts with the rows; mend what differs.

    The stores are compared by the vector worker, which has to run; writers and readers need not stop, and
    what is only behind is not called drift. Logs in as the owner of the database. The exit code is 1 if
    something differs and is not mended.

    --repair writes the index from the rows, and rows and history by applying the events of the log again.
    Where the log no longer has them, a row is made from its point, which holds the whole state. What neither
    has stays as it is: nothing is invented.
    """
    settings, _ = operator_settings(invocation_of(context))
    clock = SystemClock()
    begin = moment_or_ago("--since", since, clock.now())
    if watch and (repair or since or only is not Part.ALL):
        raise UsageError("--watch only shows: it goes with no other option but --json")
    with told_in_words(settings.postgres), psycopg.connect(settings.postgres.conninfo()) as connection:
        if watch:
            connection.autocommit = True
            _watch(connection, as_json=as_json)
        counts = _compare_counts(connection, repair=repair) if only is not Part.STORES else None
        connection.commit()
        stores = None
        if only is not Part.COUNTS:
            connection.autocommit = True
            request = AuditRequest(audit=uuid4(), mends=repair, since=begin)
            with _bar(clock) as tell:
                stores = Stores.model_validate(audit_stores(connection, request, tell))
    show(Verified(counts=counts, repaired=repair, stores=stores), as_json=as_json)
    _refuse_drift(counts if not repair else None, stores)


def _compare_counts(connection: psycopg.Connection[Any], *, repair: bool) -> list[WrongCount]:
    differences = [WrongCount(**each._asdict()) for each in count_differences(connection)]
    if repair and differences:
        rebuild_counts(connection)
    return differences


def _watch(connection: psycopg.Connection[Any], *, as_json: bool) -> None:
    say("Waiting for audits; Ctrl-C ends it.")
    for each in later_audits(connection):
        if each.details is None:
            say(f"An audit failed: {each.reason}")
        else:
            show(Stores.model_validate(each.details), as_json=as_json)


def _refuse_drift(counts: list[WrongCount] | None, stores: Stores | None) -> None:
    """End with 1 where something differs.

    Raises:
        FindingsError: It does.
    """
    told = []
    if counts:
        told.append(f"{len(counts)} counts are wrong" if len(counts) > 1 else "a count is wrong")
    if stores is not None and stores.left:
        differences = f"{stores.left:,} differences" if stores.left > 1 else "a difference"
        told.append(f"the stores have {differences}")
    if stores is not None and stores.undecided:
        told.append("a sink is behind, so that not everything could be compared")
    if told:
        repaired = stores is not None and stores.mends
        raise FindingsError(
            "; ".join(told),
            (),
            remedy="see docs/runbooks/drift-found.md for what stays"
            if repaired
            else "run `soma verify --repair`",
        )


@contextmanager
def _bar(clock: SystemClock) -> Iterator[Callable[[int, int], None]]:
    """Show how far it is, once that takes longer than a moment."""
    began, shown = clock.monotonic(), 0
    with ExitStack() as opened:
        advance: Callable[[int], None] | None = None

        def tell(done: int, total: int) -> None:
            nonlocal advance, shown
            if advance is None and total and clock.monotonic() - began >= _BAR_AFTER_SECONDS:
                advance = opened.enter_context(progress("Comparing the stores", total))
            if advance is not None:
                advance(done - shown)
                shown = done

        yield tell
