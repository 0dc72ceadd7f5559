"""`soma search`: find memories by meaning, by words, or by both."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from soma_cli.arguments import text_of
from soma_cli.commands.filters import choosing_memories
from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.drawing import hit_lines, show_answer
from soma_cli.failures import UsageError
from soma_cli.output import Result, plain, show
from soma_cli.parsing import json_object_of, seconds_of, spelled_moment_of
from soma_client import SomaClient
from soma_client.request_types import Search
from soma_schemas.responses.search_responses import HitView

app = typer.Typer(add_completion=False)

# As many as the API takes in one request.
_BATCH = 20


class Mode(StrEnum):
    """How memories are compared with the question."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    KEYWORD = "keyword"


class QueryHits(Result):
    """What one query of a file found."""

    query: str
    hits: list[HitView]
    exhaustive: bool | None

    def drawn(self) -> RenderableType:
        """Return the query, and its hits below."""
        return Group(Text(plain(self.query), "bold"), *hit_lines(self.hits, exhaustive=self.exhaustive))


class FileHits(Result):
    """What the queries of a file found, in their order; `complete`: whether the index has everything."""

    queries: list[QueryHits]
    complete: bool

    def drawn(self) -> RenderableType:
        """Return each query with its hits."""
        lines = [each.drawn() for each in self.queries]
        if not self.complete:
            lines.append(Text("memories may be missing here: the index is being filled", "yellow"))
        return Group(*lines)


@app.command()
@choosing_memories
def search(
    context: typer.Context,
    query: Annotated[str | None, typer.Argument(help="Text to search for.", show_default=False)] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Search for each line of this file instead, with the same options.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="vector: by meaning. keyword: by words. hybrid: by both.")
    ] = Mode.HYBRID,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=1, max=10_000, help="Maximum number of results.")
    ] = 5,
    chosen: dict[str, Any],
    importance_min: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Lowest importance.", show_default=False)
    ] = None,
    occurred_from: Annotated[
        str | None, typer.Option(help="Happened at this time or later.", show_default=False)
    ] = None,
    occurred_before: Annotated[
        str | None, typer.Option(help="Happened before this time.", show_default=False)
    ] = None,
    payload: Annotated[
        str | None, typer.Option(help="A JSON object whose fields the payload has.", show_default=False)
    ] = None,
    min_meaning: Annotated[
        float | None,
        typer.Option(min=-1.0, max=1.0, help="Lowest `meaning` of a result.", show_default=False),
    ] = None,
    min_words: Annotated[
        float | None, typer.Option(min=0.0, help="Lowest `words` of a result.", show_default=False)
    ] = None,
    boost_importance: Annotated[
        float,
        typer.Option(min=0.0, max=1000.0, help="Added to the score of a memory of importance 1."),
    ] = 0.0,
    boost_recency: Annotated[
        float,
        typer.Option(min=0.0, max=1000.0, help="Added to the score of what happens now."),
    ] = 0.0,
    diversity: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="How much results are to differ from each other in meaning."),
    ] = 0.0,
    in_context: Annotated[
        str | None,
        typer.Option("--context", help="A text in whose light the query is meant.", show_default=False),
    ] = None,
    phrase: Annotated[
        bool, typer.Option("--phrase", help="Only where the words stand in this order, by keywords.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Only where the text is the query and nothing more, by keywords.")
    ] = False,
    substring: Annotated[
        bool,
        typer.Option("--substring", help="Only where the text has these characters in a row, latest first."),
    ] = False,
    case_sensitive: Annotated[
        bool,
        typer.Option(
            "--case-sensitive", help="Capitals make a difference to --phrase, --exact and --substring."
        ),
    ] = False,
    term_boosts: Annotated[
        list[str] | None,
        typer.Option(
            "--term-boost",
            help="How much a word counts instead of 1, whether the query has it or not; repeat it for more.",
            metavar="WORD=NUMBER",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="Only what was there at this time; it is found and shown as it is now.", show_default=False
        ),
    ] = None,
    half_life: Annotated[str, typer.Option(help="Age at which half of --boost-recency is left.")] = "30d",
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Search memories by meaning, by words, or by both.

    Prints each hit with its score and the parts of the score. Scores are comparable only within one search.
    A hit is weak, and probably irrelevant, if it shares no word with the query and its meaning is far away.
    """
    if (query is None) == (file is None):
        raise UsageError("a search wants either a text or --file")
    given = {
        "importance_min": importance_min,
        "occurred_from": spelled_moment_of("--occurred-from", occurred_from),
        "occurred_before": spelled_moment_of("--occurred-before", occurred_before),
        "payload": None if payload is None else json_object_of("payload", payload),
    }
    wanted = chosen | {name: value for name, value in given.items() if value is not None}
    asked: dict[str, Any] = {"mode": mode.value, "top_k": top_k, "filter": wanted}
    wordings = {"phrase": phrase, "exact": exact, "substring": substring}
    asked |= _wording(
        mode, [name for name, is_given in wordings.items() if is_given], case_sensitive=case_sensitive
    )
    if term_boosts:
        asked["term_boosts"] = dict(map(_term_boost, term_boosts))
    bounds = {"dense": min_meaning, "bm25": min_words or None}
    if any(bound is not None for bound in bounds.values()):
        asked["threshold"] = bounds
    if boost_importance or boost_recency:
        asked["boost"] = {
            "importance": boost_importance,
            "recency": boost_recency,
            "half_life_seconds": seconds_of("--half-life", half_life),
        }
    if at is not None:
        asked["at"] = spelled_moment_of("--at", at)
    if diversity:
        asked["diversity"] = diversity
    if in_context is not None:
        asked["context"] = {"text": in_context}
    with open_client(context, url, api_key) as client:
        if file is None:
            show_answer(client.search(query, **asked), as_json=as_json)
        else:
            show(_search_all(client, _queries(file), asked), as_json=as_json)


def _wording(mode: Mode, matches: Sequence[str], *, case_sensitive: bool) -> dict[str, Any]:
    """Return how the query has to be said.

    Args:
        mode: As it was chosen.
        matches: All that were asked for.
        case_sensitive: Whether capitals make a difference.

    Raises:
        UsageError: Not all of it goes together.
    """
    if len(matches) > 1:
        raise UsageError(f"{' and '.join(f'--{each}' for each in matches)} exclude each other")
    if not matches:
        if case_sensitive:
            raise UsageError("--case-sensitive goes with --phrase, --exact or --substring")
        return {}
    (match,) = matches
    if mode is Mode.VECTOR:
        raise UsageError(f"--{match} searches by keywords: --mode vector does not go with it")
    return {"mode": Mode.KEYWORD.value, "match": match, "case_sensitive": case_sensitive}


def _term_boost(given: str) -> tuple[str, float]:
    term, _, number = given.rpartition("=")
    try:
        return term, float(number)
    except ValueError:
        raise UsageError(f"--term-boost is WORD=NUMBER, not {text_of(given, 'replace')}") from None


def _queries(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except ValueError:
        raise UsageError(f"{text_of(str(file), 'replace')} is not text in UTF-8") from None
    return [line for line in lines if line.strip()]


def _search_all(client: SomaClient, queries: Sequence[str], asked: dict[str, Any]) -> FileHits:
    found: list[QueryHits] = []
    complete = True
    for start in range(0, len(queries), _BATCH):
        some = queries[start : start + _BATCH]
        answer = client.search_batch([cast("Search", {"query": each} | asked) for each in some])
        found += [
            QueryHits(query=each, hits=one.hits, exhaustive=one.exhaustive)
            for each, one in zip(some, answer.answers, strict=True)
        ]
        complete = complete and answer.index.complete
    return FileHits(queries=found, complete=complete)
