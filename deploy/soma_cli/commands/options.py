"""Options that several commands take, and the client that they lead to."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from soma_cli.invocation import invocation_of
from soma_client import Retrying, SomaClient

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


class Direction(StrEnum):
    """Which links of a memory."""

    OUT = "out"
    IN = "in"
    BOTH = "both"


LinkType = Annotated[str, typer.Option("--type", "-t", help="Type of the link.", show_default=False)]
LinkTypes = Annotated[
    list[str] | None, typer.Option("--type", "-t", help="Links of this type; repeat it for several.")
]
Walking = Annotated[
    Direction | None,
    typer.Option(help="Links as they point, against that, or both ways.", show_default=False),
]
MinWeight = Annotated[
    float | None, typer.Option(min=0.0, help="Links at least so heavy.", show_default=False)
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


def walked(
    *, types: list[str] | None, direction: Direction | None, min_weight: float | None = None
) -> dict[str, Any]:
    """Return which links are walked, as the API names it; what was not said is its choice."""
    given = {
        "type": types or None,
        "direction": None if direction is None else direction.value,
        "min_weight": min_weight,
    }
    return {name: value for name, value in given.items() if value is not None}


# Where nobody takes connections, whoever typed a command wants to know it now.
PROMPT = Retrying(unreachable=False)


def open_client(
    context: typer.Context, url: str | None, api_key: str | None, *, read_your_writes: bool = True
) -> SomaClient:
    """Return a client of the API that the options, the environment or the local stack name.

    Args:
        context: Of the command.
        url: Of the option.
        api_key: Of the option.
        read_your_writes: Whether reads wait for what the command wrote.

    Raises:
        NoConnectionError: None of them names one.
    """
    environment = invocation_of(context).environment
    return SomaClient(
        url, api_key, environment=environment, retrying=PROMPT, read_your_writes=read_your_writes
    )
