"""`soma neighbors`: list the memories near a memory, along links."""

from typing import Annotated

import typer

from soma_cli.commands.options import (
    ApiKey,
    AsJson,
    LinkTypes,
    MinWeight,
    Url,
    Walking,
    open_client,
    walked,
)
from soma_cli.drawing import show_answer
from soma_cli.naming import OfEnds, OneEnd, id_or_key

app = typer.Typer(add_completion=False)


@app.command()
def neighbors(
    context: typer.Context,
    memory: OneEnd,
    *,
    depth: Annotated[
        int, typer.Option("--depth", "-d", min=1, max=5, help="At most so many links away.")
    ] = 1,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many memories.")] = 50,
    types: LinkTypes = None,
    direction: Walking = None,
    min_weight: MinWeight = None,
    namespace: OfEnds = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the memories near a memory, the nearest first, each with the links that lead to it."""
    with open_client(context, url, api_key) as client:
        asked = walked(types=types, direction=direction, min_weight=min_weight)
        memory_id = id_or_key(client, memory, namespace)
        near = client.list_neighbors(memory_id, **asked, depth=depth, limit=limit)
        show_answer(near, as_json=as_json)
