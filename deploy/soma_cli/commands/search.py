"""`soma search`: find memories by meaning, by words, or by both."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from soma_cli.commands.filters import choosing_memories
from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.output import show
from soma_cli.parsing import json_object_of, spelled_moment_of

app = typer.Typer(add_completion=False)


class Mode(StrEnum):
    """How memories are compared with the question."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    KEYWORD = "keyword"


@app.command()
@choosing_memories
def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="Text to search for.")],
    *,
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
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Search memories by meaning, by words, or by both.

    Prints each hit with its score and the parts of the score. Scores are comparable only within one search.
    A hit is weak, and probably irrelevant, if it shares no word with the query and its meaning is far away.
    """
    given = {
        "importance_min": importance_min,
        "occurred_from": spelled_moment_of("--occurred-from", occurred_from),
        "occurred_before": spelled_moment_of("--occurred-before", occurred_before),
        "payload": None if payload is None else json_object_of("payload", payload),
    }
    where = chosen.pop("filter", None)
    given["where"] = None if where is None else json_object_of("filter", where)
    wanted = chosen | {name: value for name, value in given.items() if value is not None}
    with open_client(context, url, api_key) as client:
        hits = client.search({"query": query, "mode": mode.value, "top_k": top_k, "filter": wanted})
    show(hits, as_json=as_json)
