"""`soma bench`: measure recall, latency, search and reads."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.benchmark.figures import Asked, bootstrap_interval, mean, percentile
from soma_cli.benchmark.memories import example_memories, made_up_memories
from soma_cli.benchmark.questions import read_questions
from soma_cli.benchmark.runs import (
    LATENCY,
    READS,
    RECALL,
    SEARCH,
    ask,
    count_below,
    load,
    searches,
    store_all,
    time_reads,
    time_searches,
    time_stores,
)
from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.commands.search import Mode
from soma_cli.examples import example
from soma_cli.output import Result, progress, show
from soma_schemas.clock import SystemClock
from soma_schemas.identity import new_id

app = typer.Typer(
    help="Measure recall, latency, search and reads.", no_args_is_help=True, add_completion=False
)

_TOP_K = 10


class ExampleSet(StrEnum):
    """A set of example memories with questions about them."""

    MONTH = "assistant-month"
    CONVERSATIONS = "conversations"

    @property
    def memories(self) -> str:
        """Return the file of its memories."""
        return f"{self.value}.jsonl"

    @property
    def questions(self) -> str:
        """Return the file of its questions."""
        return f"{self.value}-questions.jsonl"


class ModeRecall(Result):
    """How well one mode finds what answers the questions; shares from 0 to 1.

    `recall_at_N` is the share of answers among the first N, averaged over questions; `answered_at_N` is the
    share of questions with at least one answer there. `recall_at_N_interval` is where that average would lie
    for 95 of 100 other samples of such questions, by resampling these.
    """

    mode: Mode
    recall_at_5: float
    recall_at_5_interval: tuple[float, float]
    recall_at_10: float
    recall_at_10_interval: tuple[float, float]
    answered_at_5: float
    answered_at_10: float


class Recall(Result):
    """How well each mode finds what answers the questions."""

    questions: int
    modes: list[ModeRecall]
    unanswered: list[str]

    def drawn(self) -> RenderableType:
        """Return a row for each mode."""
        table = Table(
            "mode",
            "recall@5",
            "95 %",
            "recall@10",
            "95 %",
            "answered@5",
            "answered@10",
            box=None,
            header_style="bold",
        )
        for row in self.modes:
            table.add_row(
                row.mode.value,
                f"{row.recall_at_5:.3f}",
                _interval(row.recall_at_5_interval),
                f"{row.recall_at_10:.3f}",
                _interval(row.recall_at_10_interval),
                f"{row.answered_at_5:.3f}",
                f"{row.answered_at_10:.3f}",
            )
        return table


def _interval(bounds: tuple[float, float]) -> str:
    return " - ".join(f"{bound:.2f}" for bound in bounds)


class Times(Result):
    """How long something took, in seconds."""

    what: str
    count: int
    memories: int
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    max_seconds: float

    def drawn(self) -> RenderableType:
        """Return a row of milliseconds."""
        return _table([self])


class SearchTimes(Times):
    """How long searches took, all of them and those with each kind of filter."""

    by_filter: list[Times]

    def drawn(self) -> RenderableType:
        """Return a row of milliseconds for each kind, and one for all."""
        return _table([*self.by_filter, self])


class ReadTimes(Result):
    """How long each kind of read took."""

    reads: list[Times]

    def drawn(self) -> RenderableType:
        """Return a row of milliseconds for each kind."""
        return _table(self.reads)


@app.command()
def recall(
    context: typer.Context,
    *,
    examples: Annotated[ExampleSet, typer.Option(help="Which examples to ask about.")] = ExampleSet.MONTH,
    questions: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A file of your own questions about memories that are stored; docs/examples/README.md "
            "describes its lines.",
            show_default=False,
        ),
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask questions in every mode, and report the recall with its 95 % bootstrap intervals.

    First stores the example memories below `bench/recall`, and nothing with questions of your own.
    """
    memories: list[dict[str, Any]] = []
    below = None
    if questions is None:
        below = f"{RECALL}/{examples.value}"
        memories = example_memories(example(examples.memories), below)
        wanted = read_questions(example(examples.questions))
    else:
        wanted = read_questions(questions, copied=False)
    with open_client(context, url, api_key, read_your_writes=False) as client:
        if memories:
            with progress(f"Storing {len(memories):,} memories", len(memories)) as advance:
                load(client, memories, SystemClock(), advance)
        with progress(f"Asking {len(wanted)} questions", len(wanted) * len(Mode)) as advance:
            asked = {mode: ask(client, wanted, mode.value, _TOP_K, advance, below=below) for mode in Mode}
    answered = {each.question for row in asked.values() for each in row if each.is_answered(_TOP_K)}
    show(
        Recall(
            questions=len(wanted),
            modes=[_mode_recall(mode, row) for mode, row in asked.items()],
            unanswered=[question.text for question in wanted if question.text not in answered],
        ),
        as_json=as_json,
    )


@app.command()
def latency(
    context: typer.Context,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of memories to store.")] = 200,
    *,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Store memories one by one, and measure the time until each is searchable.

    They are below `bench/latency`; another run replaces them.
    """
    memories = list(
        made_up_memories(example_memories(example(ExampleSet.MONTH.memories), LATENCY), count, LATENCY)
    )
    clock = SystemClock()
    with open_client(context, url, api_key, read_your_writes=False) as client:
        events = iter(lambda: new_id(clock.now()), None)
        seconds = time_stores(client, memories, clock, events)
    show(_times("store until searchable", seconds, count), as_json=as_json)


@app.command()
def search(
    context: typer.Context,
    memories: Annotated[int, typer.Option(min=1, max=10_000_000, help="Number of memories.")] = 10_000,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of searches.")] = 400,
    *,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Measure the latency of filtered hybrid searches over many memories.

    First stores what is missing below `bench/search`, made up from the examples.
    """
    clock = SystemClock()
    with open_client(context, url, api_key, read_your_writes=False) as client:
        if count_below(client, SEARCH) < memories:
            examples = example_memories(example(ExampleSet.MONTH.memories), SEARCH)
            with progress(f"Storing {memories:,} memories", memories) as advance:
                load(client, made_up_memories(examples, memories, SEARCH), clock, advance)
        asked = searches(read_questions(example(ExampleSet.MONTH.questions)), count)
        seconds = time_searches(client, [each.body for each in asked], clock)
        there = count_below(client, SEARCH)
    kinds: dict[str, list[float]] = {}
    for each, took in zip(asked, seconds, strict=True):
        kinds.setdefault(each.filtered_by, []).append(took)
    rows = [_times(kind, times, there) for kind, times in kinds.items()]
    total = _times("hybrid search with filters", seconds, there)
    show(SearchTimes(**total.model_dump(), by_filter=rows), as_json=as_json)


@app.command()
def reads(
    context: typer.Context,
    memories: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Number of memories to store first.")
    ] = 4_000,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="Number of requests of each kind.")
    ] = 100,
    *,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Measure the latency of counts, lists and write states right after storing.

    The memories are below `bench/reads`. The reads follow at once, before the database has analyzed the new
    rows.
    """
    clock = SystemClock()
    with open_client(context, url, api_key, read_your_writes=False) as client:
        examples = example_memories(example(ExampleSet.MONTH.memories), READS)
        with progress(f"Storing {memories:,} memories", memories) as advance:
            positions = store_all(client, made_up_memories(examples, memories, READS), advance)
        seconds = time_reads(client, positions[-1], count, clock)
        there = client.read_stats().memories
    show(ReadTimes(reads=[_times(what, took, there) for what, took in seconds.items()]), as_json=as_json)


def _mode_recall(mode: Mode, asked: Sequence[Asked]) -> ModeRecall:
    five, ten = ([each.recall(at) for each in asked] for at in (5, 10))
    return ModeRecall(
        mode=mode,
        recall_at_5=mean(five),
        recall_at_5_interval=bootstrap_interval(five),
        recall_at_10=mean(ten),
        recall_at_10_interval=bootstrap_interval(ten),
        answered_at_5=mean([each.is_answered(5) for each in asked]),
        answered_at_10=mean([each.is_answered(10) for each in asked]),
    )


def _table(rows: Sequence[Times]) -> Table:
    table = Table("", "count", "p50", "p95", "p99", "max", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        times = (row.p50_seconds, row.p95_seconds, row.p99_seconds, row.max_seconds)
        table.add_row(Text(row.what), f"{row.count:,}", *(f"{each * 1000:.1f} ms" for each in times))
    return table


def _times(what: str, seconds: Sequence[float], memories: int) -> Times:
    return Times(
        what=what,
        count=len(seconds),
        memories=memories,
        p50_seconds=percentile(seconds, 50),
        p95_seconds=percentile(seconds, 95),
        p99_seconds=percentile(seconds, 99),
        max_seconds=max(seconds),
    )
