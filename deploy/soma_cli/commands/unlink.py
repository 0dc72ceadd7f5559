"""`soma unlink`: delete the link between two memories."""

import typer

from soma_cli.commands.options import ApiKey, AsJson, LinkType, Url, Wait, open_client
from soma_cli.drawing import show_answer
from soma_cli.naming import OfEnds, OneEnd, id_or_key

app = typer.Typer(add_completion=False)


@app.command()
def unlink(
    context: typer.Context,
    start: OneEnd,
    end: OneEnd,
    *,
    link_type: LinkType,
    namespace: OfEnds = None,
    wait: Wait = 5,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Delete the link of this type between two memories."""
    with open_client(context, url, api_key) as client:
        ends = id_or_key(client, start, namespace), id_or_key(client, end, namespace)
        show_answer(client.delete_link(*ends, link_type=link_type, wait_seconds=wait), as_json=as_json)
