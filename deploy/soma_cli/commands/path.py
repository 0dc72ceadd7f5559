"""`soma path`: find the shortest path between two memories, along links."""

from enum import StrEnum
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


class Cost(StrEnum):
    """How long a link is."""

    WEIGHT = "weight"
    INVERSE_WEIGHT = "inverse_weight"
    HOPS = "hops"


@app.command()
def path(
    context: typer.Context,
    start: OneEnd,
    end: OneEnd,
    *,
    cost: Annotated[
        Cost, typer.Option(help="How long a link is: its weight, one divided by its weight, or 1.")
    ] = Cost.WEIGHT,
    types: LinkTypes = None,
    direction: Walking = None,
    min_weight: MinWeight = None,
    namespace: OfEnds = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Find the shortest path between two memories.

    Links are walked as they point; `--direction both` walks them both ways.
    """
    with open_client(context, url, api_key) as client:
        asked = walked(types=types, direction=direction, min_weight=min_weight)
        ends = id_or_key(client, start, namespace), id_or_key(client, end, namespace)
        show_answer(client.find_path(*ends, **asked, cost=cost.value), as_json=as_json)
