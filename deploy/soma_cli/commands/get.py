"""`soma get`: show one memory."""

import typer

from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.drawing import show_answer
from soma_cli.naming import OfCoordinate, OfKey, OfMemory, OfNamespace, named_memory

app = typer.Typer(add_completion=False)


@app.command()
def get(
    context: typer.Context,
    memory_id: OfMemory = None,
    *,
    namespace: OfNamespace = None,
    key: OfKey = None,
    coordinate: OfCoordinate = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one memory.

    Give its id, or its namespace and its key or coordinate.
    """
    with open_client(context, url, api_key) as client:
        show_answer(named_memory(client, memory_id, namespace, key, coordinate), as_json=as_json)
