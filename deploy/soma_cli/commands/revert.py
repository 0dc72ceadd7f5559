"""`soma revert`: store a memory as it was at an earlier version."""

from typing import Annotated

import typer

from soma_cli.commands.options import ApiKey, AsJson, Url, Wait, open_client
from soma_cli.drawing import show_answer
from soma_cli.naming import OfEnds, OneEnd, id_or_key

app = typer.Typer(add_completion=False)


@app.command()
def revert(
    context: typer.Context,
    memory: OneEnd,
    *,
    version: Annotated[int, typer.Option(min=1, help="As `soma history` has it.", show_default=False)],
    namespace: OfEnds = None,
    wait: Wait = 5,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Store a memory as it was at an earlier version.

    A deleted memory, named by its id, comes back.
    """
    with open_client(context, url, api_key) as client:
        memory_id = id_or_key(client, memory, namespace)
        show_answer(client.revert_memory(memory_id, version, wait_seconds=wait), as_json=as_json)
