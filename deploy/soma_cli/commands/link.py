"""`soma link`: link one memory to another."""

from typing import Annotated

import typer

from soma_cli.commands.options import ApiKey, AsJson, LinkType, Url, Wait, open_client
from soma_cli.drawing import show_answer
from soma_cli.naming import OfEnds, OneEnd, id_or_key

app = typer.Typer(add_completion=False)


@app.command()
def link(
    context: typer.Context,
    start: OneEnd,
    end: OneEnd,
    *,
    link_type: LinkType,
    weight: Annotated[float, typer.Option("--weight", "-w", min=0.0, help="Of the link.")] = 1.0,
    namespace: OfEnds = None,
    wait: Wait = 5,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Link one memory to another.

    Linking again with the same type replaces the weight. A link ends with either of its memories.
    """
    with open_client(context, url, api_key) as client:
        ends = id_or_key(client, start, namespace), id_or_key(client, end, namespace)
        written = client.put_link(*ends, link_type=link_type, weight=weight, wait_seconds=wait)
        show_answer(written, as_json=as_json)
