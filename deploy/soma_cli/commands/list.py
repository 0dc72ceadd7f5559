"""`soma list`: list memories."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from soma_cli.commands.filters import choosing_memories
from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.drawing import show_answer
from soma_cli.output import say
from soma_cli.parsing import coordinate_of

app = typer.Typer(add_completion=False)


class Order(StrEnum):
    """How a list is sorted; a minus puts the newest or greatest first."""

    UPDATED = "updated_at"
    UPDATED_DESCENDING = "-updated_at"
    CREATED = "created_at"
    CREATED_DESCENDING = "-created_at"
    OCCURRED = "occurred_at"
    OCCURRED_DESCENDING = "-occurred_at"
    IMPORTANCE = "importance"
    IMPORTANCE_DESCENDING = "-importance"
    DISTANCE = "distance"


@app.command("list")
@choosing_memories
def list_(
    context: typer.Context,
    *,
    chosen: dict[str, Any],
    sort: Annotated[
        Order | None,
        typer.Option(
            help="Sort order; a minus sorts descending. Default: distance with --near, else -updated_at.",
            show_default=False,
        ),
    ] = None,
    near: Annotated[
        str | None,
        typer.Option(
            help="List memories by the distance of their coordinates from this one, as `1,2.5`; at most "
            "10,000 are compared.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of results.")] = 20,
    cursor: Annotated[
        str | None, typer.Option(help="Continue after the page that printed this cursor.", show_default=False)
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List memories.

    `soma export` writes all of them.
    """
    place = None if near is None else coordinate_of(near)
    order = sort or (Order.UPDATED_DESCENDING if near is None else Order.DISTANCE)
    with open_client(context, url, api_key) as client:
        page = client.list_memories(**chosen, sort=order.value, near=place, limit=limit, cursor=cursor)
    show_answer(page, as_json=as_json)
    if page.next_cursor is not None and not as_json:
        say(f"\nthere are more: --cursor {page.next_cursor}")
