"""`soma serve`: run the HTTP API."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from soma_api.settings import ApiSettings
from soma_cli.invocation import invocation_of
from soma_cli.processes import api
from soma_cli.settings import KNOWN, EmbeddedApiSettings
from soma_schemas.configuration import load

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    context: typer.Context,
    *,
    embedded_vectors: Annotated[
        Path | None,
        typer.Option(
            help="Keep the vector index in this folder and run its worker in this process; no Qdrant server.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the HTTP API.

    Runs until SIGINT or SIGTERM, then finishes the requests that are being served.
    """
    environment = invocation_of(context).environment
    if embedded_vectors is None:
        asyncio.run(api.serve(load(ApiSettings, environment=environment, known=KNOWN)))
        return
    loaded = load(EmbeddedApiSettings, environment=environment, known=KNOWN)
    asyncio.run(api.serve_embedded(loaded, embedded_vectors))
