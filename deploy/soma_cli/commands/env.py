"""`soma env`: print where the local stack is, for programs that are started from the same shell."""

import sys
from shlex import quote

import typer
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.connection import running_stack
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, show

app = typer.Typer(add_completion=False)


class Variables(Result):
    """What leads a program to the local stack; the API's key is an admin's, in the clear."""

    variables: dict[str, str]

    def drawn(self) -> Text:
        """Return a line for a shell for each."""
        return Text("\n".join(f"export {name}={quote(value)}" for name, value in self.variables.items()))


@app.command()
def env(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Print the addresses and the API key of the local stack as shell variables.

    `eval "$(soma env)"` sets them in the current shell: SOMA_URL and SOMA_API_KEY for the HTTP API,
    SOMA_KAFKA__... and SOMA_REGISTRY__... for producers. The key has role admin. Of a stack that was started
    with `--secure` they name a user who may publish events and nothing else, and SOMA_CA_FILE its authority.
    """
    local = running_stack(invocation_of(context).home)
    authority = {} if local.ca_file is None else {"SOMA_CA_FILE": local.ca_file}
    found = Variables(
        variables={"SOMA_URL": local.url, "SOMA_API_KEY": local.api_key, **authority, **local.publishing}
    )
    if as_json:
        show(found, as_json=True)
    else:
        # Written as it is: a terminal's width must not break a line that is pasted.
        sys.stdout.write(f"{found.drawn().plain}\n")
