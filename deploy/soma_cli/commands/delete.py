"""`soma delete`: delete a memory."""

from typing import Annotated

import typer

from soma_cli.commands.options import ApiKey, AsJson, Url, Wait, open_client
from soma_cli.drawing import show_answer
from soma_cli.naming import OfCoordinate, OfKey, OfMemory, OfNamespace, named_memory

app = typer.Typer(add_completion=False)


@app.command()
def delete(
    context: typer.Context,
    memory_id: OfMemory = None,
    *,
    namespace: OfNamespace = None,
    key: OfKey = None,
    coordinate: OfCoordinate = None,
    expected_version: Annotated[
        int | None,
        typer.Option(min=1, help="Delete only if the memory has this version.", show_default=False),
    ] = None,
    wait: Wait = 5,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Delete a memory.

    Give its id, or its namespace and its key or coordinate. Its history is kept until retention or an
    erasure removes it.
    """
    with open_client(context, url, api_key) as client:
        if memory_id is None or key is not None or coordinate is not None:
            memory = named_memory(client, memory_id, namespace, key, coordinate)
            memory_id, namespace = memory.memory_id, memory.namespace
        written = client.delete_memory(
            memory_id, namespace=namespace, expected_version=expected_version, wait_seconds=wait
        )
        show_answer(written, as_json=as_json)
