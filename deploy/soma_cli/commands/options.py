"""Options that several commands take, and the client that they lead to."""

from pathlib import Path
from typing import Annotated

import typer

from soma_cli.client import SomaClient
from soma_cli.connection import find_connection
from soma_cli.invocation import invocation_of

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Url = Annotated[
    str | None,
    typer.Option(help="Address of the API. Default: SOMA_URL, or the local stack.", show_default=False),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        help="API key. Default: SOMA_API_KEY, or the key of the local stack. Other users of this "
        "machine can see a key on a command line.",
        show_default=False,
    ),
]
Wait = Annotated[
    int,
    typer.Option(
        "--wait",
        min=0,
        max=60,
        help="Seconds to wait until reads and searches see the write; 0 returns when it is in the log.",
        metavar="SECONDS",
    ),
]

ArchiveFile = Annotated[Path, typer.Argument(help="The archive of `soma backup`.", metavar="ARCHIVE")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help="The key that the archive is encrypted with.",
        metavar="KEYFILE",
        show_default=False,
    ),
]


def open_client(context: typer.Context, url: str | None, api_key: str | None) -> SomaClient:
    """Return a client of the API that the options, the environment or the local stack name.

    Raises:
        UsageError: None of them names one.
    """
    return SomaClient(find_connection(invocation_of(context), url, api_key))
