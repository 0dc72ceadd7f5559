"""`soma links`: list the links of a memory."""

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.commands.options import ApiKey, AsJson, LinkTypes, Url, Walking, open_client, walked
from soma_cli.naming import OfEnds, OneEnd, id_or_key
from soma_cli.output import Result, plain, show
from soma_schemas.responses.link_responses import LinkView

app = typer.Typer(add_completion=False)


class Links(Result):
    """All links of a memory."""

    links: list[LinkView]

    def drawn(self) -> RenderableType:
        """Return a row for each link."""
        if not self.links:
            return Text("no links")
        table = Table("from", "type", "weight", "to", box=None, header_style="bold", pad_edge=False)
        for link in self.links:
            table.add_row(
                str(link.from_memory_id), Text(plain(link.type)), f"{link.weight:g}", str(link.to_memory_id)
            )
        return table


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
        found = list(client.iter_links_of(memory_id, **walked(types=types, direction=direction)))
    show(Links(links=found), as_json=as_json)
