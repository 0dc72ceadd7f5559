"""`soma links`: list the links of a memory."""

import typer

from soma_cli.api_responses import Links
from soma_cli.commands.options import ApiKey, AsJson, LinkTypes, Url, Walking, open_client, walked
from soma_cli.naming import OfEnds, OneEnd, id_or_key
from soma_cli.output import show

app = typer.Typer(add_completion=False)


@app.command()
def links(
    context: typer.Context,
    memory: OneEnd,
    *,
    types: LinkTypes = None,
    direction: Walking = None,
    namespace: OfEnds = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the links of a memory: those that begin there, and those that end there."""
    with open_client(context, url, api_key) as client:
        memory_id = id_or_key(client, memory, namespace)
        found = list(client.links(memory_id, walked(types=types, direction=direction)))
    show(Links(links=found), as_json=as_json)
