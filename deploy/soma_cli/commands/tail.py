"""`soma tail`: follow what is applied to memories and links."""

import sys
from random import Random
from typing import Annotated

import typer

from soma_cli.api_responses import ChangePlace
from soma_cli.change_stream import follow_changes
from soma_cli.commands.options import ApiKey, Url, open_client
from soma_cli.output import say, show
from soma_cli.parsing import json_object_of
from soma_schemas.clock import SystemClock

app = typer.Typer(add_completion=False)


@app.command()
def tail(
    context: typer.Context,
    *,
    since: Annotated[
        str,
        typer.Option(
            help="`now`, `beginning`, or an id that an earlier run printed: what came after it is told.",
            metavar="WHERE",
        ),
    ] = "now",
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--no-follow",
            help="Go on until Ctrl-C, or end when all that is settled was told.",
        ),
    ] = True,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Of exactly this namespace.", show_default=False),
    ] = None,
    namespace_prefix: Annotated[
        str | None, typer.Option(help="Of this namespace and all below it.", show_default=False)
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help="What is true of the memories now, as JSON in the filter language (docs/guides/search.md). "
            "What is gone is told whatever it says.",
            show_default=False,
        ),
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each change, and one with each `id`.")
    ] = False,
) -> None:
    """Follow what is applied to memories and links.

    A lost connection is made again. A change can be told twice then; its `position` is the same.
    """
    if where is not None:
        json_object_of("filter", where)
    named = {"namespace": namespace, "namespace_prefix": namespace_prefix, "filter": where}
    asked = {name: value for name, value in named.items() if value is not None} | {"follow": follow}
    place = None
    try:
        with open_client(context, url, api_key) as client:
            for each in follow_changes(client, asked, since, SystemClock().block, Random()):  # noqa: S311  # spreads reconnects, guards nothing
                if isinstance(each, ChangePlace):
                    place = each.id
                if as_json:
                    sys.stdout.write(each.model_dump_json() + "\n")
                    sys.stdout.flush()
                elif not isinstance(each, ChangePlace):
                    show(each, as_json=False)
    finally:
        if place is not None and not as_json:
            say(f"go on with --since {place}")
