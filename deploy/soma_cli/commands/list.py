"""`soma list`: list memories."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from soma_cli.api_responses import MemoryList
from soma_cli.commands.filters import choosing_memories
from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.output import say, show

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


@app.command("list")
@choosing_memories
def list_(
    context: typer.Context,
    *,
    chosen: dict[str, Any],
    sort: Annotated[
        Order, typer.Option(help="Sort order; a minus sorts descending.")
    ] = Order.UPDATED_DESCENDING,
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
    asked = chosen | {"sort": sort.value, "limit": limit}
    if cursor is not None:
        asked["cursor"] = cursor
    with open_client(context, url, api_key) as client:
        page: MemoryList = client.list(asked)
    show(page, as_json=as_json)
    if page.next_cursor is not None and not as_json:
        say(f"\nthere are more: --cursor {page.next_cursor}")
