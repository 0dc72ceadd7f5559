"""`soma tail`: follow what is applied to memories and links."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from soma_cli.commands.options import ApiKey, Url, open_client
from soma_cli.drawing import show_answer
from soma_cli.output import say
from soma_cli.parsing import json_object_of
from soma_client.change_stream import ChangePlace

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
    place = None
    try:
        with open_client(context, url, api_key) as client:
            changes = client.follow_changes(
                since=since,
                follow=follow,
                namespace=namespace,
                namespace_prefix=namespace_prefix,
                where=None if where is None else json_object_of("filter", where),
                on_lost=lambda error: say(f"{error}; connecting again"),
            )
            for each in changes.told():
                if isinstance(each, ChangePlace):
                    place = each.id
                    if as_json:
                        _write_line(json.dumps(asdict(each)))
                elif as_json:
                    _write_line(each.model_dump_json())
                else:
                    show_answer(each, as_json=False)
    finally:
        if place is not None and not as_json:
            say(f"go on with --since {place}")


def _write_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
