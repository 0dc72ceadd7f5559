"""`soma bench`: measure recall, latency, search and reads."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.benchmark.figures import Asked, mean, percentile
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

_MEMORIES = "assistant-month.jsonl"
_QUESTIONS = "assistant-month-questions.jsonl"
_TOP_K = 10


class ModeRecall(Result):
    """How well one mode finds what answers the questions; shares from 0 to 1.

    `recall_at_N` is the share of answers among the first N, averaged over questions; `answered_at_N` is the
    share of questions with at least one answer there.
    """

    mode: Mode
    recall_at_5: float
    recall_at_10: float
    answered_at_5: float
    answered_at_10: float


class Recall(Result):
    """How well each mode finds what answers the example questions."""

    questions: int
    modes: list[ModeRecall]
    unanswered: list[str]

    def drawn(self) -> RenderableType:
        """Return a row for each mode."""
        table = Table(
            "mode", "recall@5", "recall@10", "answered@5", "answered@10", box=None, header_style="bold"
        )
        for row in self.modes:
            shares = (row.recall_at_5, row.recall_at_10, row.answered_at_5, row.answered_at_10)
            table.add_row(row.mode.value, *(f"{share:.3f}" for share in shares))
        return table


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
    context: typer.Context, *, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Ask the example questions in every mode, and report the recall.

    First stores the example memories below `bench/recall`.
    """
    questions = read_questions(example(_QUESTIONS))
    memories = example_memories(example(_MEMORIES), RECALL)
    with open_client(context, url, api_key) as client:
        with progress(f"Storing {len(memories):,} memories", len(memories)) as advance:
            load(client, memories, SystemClock(), advance)
        with progress(f"Asking {len(questions)} questions", len(questions) * len(Mode)) as advance:
            asked = {mode: ask(client, questions, mode.value, _TOP_K, advance) for mode in Mode}
    answered = {each.question for row in asked.values() for each in row if each.is_answered(_TOP_K)}
    show(
        Recall(
            questions=len(questions),
            modes=[_mode_recall(mode, row) for mode, row in asked.items()],
            unanswered=[question.text for question in questions if question.text not in answered],
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
    memories = list(made_up_memories(example_memories(example(_MEMORIES), LATENCY), count, LATENCY))
    clock = SystemClock()
    with open_client(context, url, api_key) as client:
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
    with open_client(context, url, api_key) as client:
        if count_below(client, SEARCH) < memories:
            examples = example_memories(example(_MEMORIES), SEARCH)
            with progress(f"Storing {memories:,} memories", memories) as advance:
                load(client, made_up_memories(examples, memories, SEARCH), clock, advance)
        asked = searches(read_questions(example(_QUESTIONS)), count)
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
    with open_client(context, url, api_key) as client:
        examples = example_memories(example(_MEMORIES), READS)
        with progress(f"Storing {memories:,} memories", memories) as advance:
            positions = store_all(client, made_up_memories(examples, memories, READS), advance)
        seconds = time_reads(client, positions[-1], count, clock)
        there = client.stats().memories
    show(ReadTimes(reads=[_times(what, took, there) for what, took in seconds.items()]), as_json=as_json)


def _mode_recall(mode: Mode, asked: Sequence[Asked]) -> ModeRecall:
    return ModeRecall(
        mode=mode,
        recall_at_5=mean([each.recall(5) for each in asked]),
        recall_at_10=mean([each.recall(10) for each in asked]),
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
